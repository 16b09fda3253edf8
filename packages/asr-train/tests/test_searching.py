"""The searches of the command line against the decoders used by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import asr_features
import asr_models
from asr_decoders import CtcBeam, NGram, Vocabulary, ctc_score, estimate
from asr_train import model_dir
from asr_train.cli import status
from asr_train.cli.options import Search, load
from asr_train.config import DecodeConfig
from asr_train.families import Attention, Ctc, build_family
from asr_train.recognizer import Recognizer
from asr_train.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["a b", "b a", "ab"], kind="char")
TEXTS = ["a b", "a b a", "b a", "a a b", "ab a", "b"] * 3
LAS = asr_models.LasConfig(
    listener_layers=2,
    listener_units=6,
    speller_units=8,
    embedding_units=4,
    attention_units=6,
    dropout=0.0,
    sampling=0.0,
    ctc_head=True,
)
DEEPSPEECH2 = replace(asr_models.PRESETS["deepspeech2-small"], recurrent_units=6, recurrent_layers=1, dropout=0.0)
FEATURES = np.random.default_rng(4).normal(size=(2, 8, 5)).astype(np.float32) * 3
LENGTHS = np.array([8, 6], np.int32)


@pytest.fixture(scope="module")
def lm() -> NGram:
    return estimate([text.split() for text in TEXTS], order=2, discount_fallback=(0.5, 1.0, 1.5))


def test_ctc_with_a_language_model_is_the_decoders_search(lm: NGram) -> None:
    family = build_family(DEEPSPEECH2, features=5, tokenizer=TOKENIZER, seed=3)
    assert isinstance(family, Ctc)
    texts = Vocabulary(TOKENIZER.pieces, boundary="sentencepiece", special=(0, 2, 3))
    found = {}
    for weight, bonus in ((0.5, 0.0), (2.0, 0.0), (1.0, 3.0)):
        options = DecodeConfig(beam_size=32, lm_weight=weight, word_bonus=bonus)
        by_hand = CtcBeam(beam_size=32, vocabulary=texts, lm=lm, lm_weight=weight, word_bonus=bonus)
        found[weight, bonus] = family.decode(FEATURES, LENGTHS, options, lm)
        for n, scores in enumerate(asr_models.log_probabilities(family.logits, FEATURES, LENGTHS)):
            best, expected = found[weight, bonus][n][0], by_hand(scores)[0]
            assert (best.tokens, best.score) == (expected.tokens, pytest.approx(expected.score, abs=1e-5))
            assert len(found[weight, bonus][n]) > 8
    assert len({tuple(each[0].score for each in values) for values in found.values()}) == 3


def test_the_head_of_a_las_joins_its_beam() -> None:
    """(1 - w) of the speller's logarithm and w of CTC's, over all texts; its greedy search hears no CTC."""
    family = build_family(LAS, features=5, tokenizer=TOKENIZER, seed=1)
    assert isinstance(family, Attention)
    options = DecodeConfig(beam_size=32, ctc_weight=0.4, length_penalty=0.0)
    memory = family.model.listen(FEATURES, LENGTHS)
    heard = tf.nn.log_softmax(family.model.frame_logits(memory).values).numpy()
    for n, found in enumerate(family.decode(FEATURES, LENGTHS, options)):
        frames = int(memory.lengths[n])
        for hypothesis in found[:5]:
            inputs = tf.constant([[family.begin, *hypothesis.tokens]])
            one = asr_models.Encoded(memory.values[n : n + 1, :frames], memory.lengths[n : n + 1])
            spelled = tf.nn.log_softmax(family.model.speller(one, inputs)).numpy()[0]
            targets = [*hypothesis.tokens, family.end]
            attention = sum(spelled[u, token] for u, token in enumerate(targets))
            ctc = ctc_score(heard[n, :frames], hypothesis.tokens)
            assert hypothesis.score == pytest.approx(0.6 * attention + 0.4 * ctc, abs=1e-3)
    alone = family.decode(FEATURES, LENGTHS, replace(options, ctc_weight=0.0))
    assert any(alone[n][0].score != family.decode(FEATURES, LENGTHS, options)[n][0].score for n in range(2))


def test_lm_writes_what_the_decoders_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, manifest, arpa = tmp_path / "text.txt", tmp_path / "texts.tsv", tmp_path / "out" / "words.arpa"
    text.write_text("\n".join(TEXTS[:6]) + "\n\n", encoding="utf-8")
    manifest.write_text("FilePath\tText\n" + "".join(f"{n}.wav\t{each}\n" for n, each in enumerate(TEXTS[6:])))
    assert status(["lm", str(text), str(manifest), "--order", "2", "--output", str(arpa)]) == 0
    assert "order 2, 3 words, from 39 in 18 sentences" in capsys.readouterr().out
    expected = estimate([each.split() for each in TEXTS], order=2, discount_fallback=(0.5, 1.0, 1.5))
    assert NGram.read(arpa).perplexity(TEXTS) == pytest.approx(expected.perplexity(TEXTS), rel=1e-5)
    assert status(["lm", str(text), "--output", str(arpa)]) == 2
    assert "exists already" in capsys.readouterr().err
    for name, content, told in (
        ("none.txt", None, "no such text"),
        ("empty.txt", b"\n", "empty.txt: "),
        ("b.txt", b"\xff", "UTF-8"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert status(["lm", str(tmp_path / name), "--output", str(tmp_path / "x.arpa")]) == 2
        error = capsys.readouterr().err
        assert told in error and error.count("\n") == 1


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders of both families, and `lm`, an ARPA file."""
    folder = tmp_path_factory.mktemp("search")
    found = {"lm": folder / "words.arpa"}
    estimate([text.split() for text in TEXTS], order=2, discount_fallback=(0.5, 1.0, 1.5)).write(found["lm"])
    frontend = replace(asr_features.PRESETS["kaldi-23"], sample_rate=8000)
    for name, config in (("las", LAS), ("deepspeech2", DEEPSPEECH2)):
        family = build_family(config, features=frontend.dim, tokenizer=TOKENIZER)
        parts = {"frontend": frontend, "normalize": None, "decode": DecodeConfig()}
        model_dir.save(folder / name, Recognizer(**parts, family=family, tokenizer=TOKENIZER), "a card")
        found[name] = folder / name
    return found


def test_the_options_of_a_search_reach_the_recognizer(folders: dict[str, Path], corpus: Path) -> None:
    search = Search(beam_size=4, lm=folders["lm"], lm_weight=0.7, word_bonus=-1.0, ctc_weight=0.1)
    found = load(folders["las"], search)
    assert found.decode == DecodeConfig(beam_size=4, lm_weight=0.7, word_bonus=-1.0, ctc_weight=0.1)
    assert found.lm is not None and found.lm.vocabulary == NGram.read(folders["lm"]).vocabulary
    with pytest.raises(ValueError, match="a language model needs a beam"):
        replace(found, decode=DecodeConfig())
    assert load(folders["las"], Search(**dict.fromkeys(Search.__dataclass_fields__))).decode == DecodeConfig()


@pytest.mark.parametrize("name", ["las", "deepspeech2"])
def test_evaluate_and_transcribe_take_a_language_model(
    name: str, folders: dict[str, Path], corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--beam-size", "4", "--lm", str(folders["lm"])]
    assert status(["evaluate", str(folders[name]), str(corpus / "test.tsv"), *options, "--json"]) == 0
    assert '"wer"' in capsys.readouterr().out
    audio = next(corpus.rglob("*.flac"))
    assert status(["transcribe", str(folders[name]), str(audio), *options, "--lm-weight", "2"]) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--lm", "LM"], "--lm needs a beam, and this search is greedy: add --beam-size 16"),
        (["--lm", "none.arpa", "--beam-size", "4"], "none.arpa: there is no such language model; `asr-train lm` makes"),
        (["--lm", "MODEL/config.json", "--beam-size", "4"], "config.json"),
        (["--lm-weight", "1"], "are for a language model: give one by --lm"),
        (["--ctc-weight", "0.5", "--beam-size", "4"], "this model has none"),
        (["--beam-size", "0"], "--beam-size"),
    ],
)
def test_options_that_do_not_go_together_are_told_in_one_line(
    options: list[str], told: str, folders: dict[str, Path], corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folders["deepspeech2"]
    options = [str(folders["lm"]) if each == "LM" else each.replace("MODEL", str(model)) for each in options]
    assert status(["evaluate", str(model), str(corpus / "test.tsv"), *options]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
