"""Runs from beginning to end: they learn, they stop, they go on."""

import contextlib
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from asr_decoders import Errors
from asr_features import UtteranceNorm
from asr_train import checkpoint, model_dir
from asr_train.checkpoint import Progress
from asr_train.config import RunConfig, TokenizerConfig
from asr_train.config_file import from_dict
from asr_train.corpora.synth import write_corpus
from asr_train.errors import UserError
from asr_train.evaluation import Evaluation, Scored, evaluate
from asr_train.manifest import Utterance, measure, read_manifest, write_manifest
from asr_train.run import prepare
from asr_train.weights import arrays_of, assign


def train(config: RunConfig, output: Path, *, resume: bool = False) -> Evaluation:
    from asr_train.loop import train

    return train(prepare(config, output, resume=resume), quiet=True)


@pytest.fixture(scope="module")
def trained(tiny: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, not to be changed; what it said is in `run.out` beside it."""
    from asr_train.loop import train

    output = tmp_path_factory.mktemp("trained") / "run"
    run = prepare(tiny, output)
    with output.with_suffix(".out").open("w") as said, contextlib.redirect_stdout(said):
        train(run)
    return output


OVERFIT = {
    "deepspeech2": {
        "model": {
            "preset": "deepspeech2-small",
            "convolutions": [{"channels": 8, "kernel": [5, 7], "stride": [2, 2]}],
            "recurrent_layers": 1,
            "recurrent_units": 64,
            "dropout": 0.0,
        },
        "tokenizer": {"kind": "char"},
    },
    "las": {
        "model": {
            "preset": "las-small",
            "listener_layers": 2,
            "listener_units": 48,
            "speller_units": 96,
            "embedding_units": 16,
            "attention_units": 32,
            "dropout": 0.0,
            "sampling": 0.0,
        },
        "tokenizer": {"kind": "unigram", "vocab_size": 30},
    },
}
EPOCHS = {"deepspeech2": 16, "las": 11}


@pytest.mark.parametrize("family", OVERFIT)
def test_eight_utterances_are_learnt_without_an_error(family: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=8, dev=1, test=0, sample_rate=8000)
    # Each epoch has them many times, so that little is spent on validation.
    eight = read_manifest(corpus["train"])
    often = [dataclasses.replace(u, id=f"{u.id}-{n}") for n in range(8) for u in eight]
    write_manifest(tmp_path / "often.tsv", often)
    config = from_dict(
        {
            **OVERFIT[family],
            "features": {"preset": "kaldi-23", "sample_rate": 8000},
            "data": {"train": [str(tmp_path / "often.tsv")], "dev": [str(corpus["dev"])], "batch_seconds": 8},
            "train": {"epochs": EPOCHS[family], "learning_rate": 0.01, "warmup_steps": 10, "label_smoothing": 0.0},
        }
    )
    train(config, tmp_path / "run")
    # The best model is that of the dev set; what was learnt is in the last checkpoint.
    recognizer = model_dir.load(tmp_path / "run/model")
    newest, _ = checkpoint.newest(tmp_path / "run/checkpoints")
    assert newest is not None
    assign(recognizer.family.model.variables, checkpoint.read(newest)[0]["model"], "")
    scores = evaluate(recognizer, measure(read_manifest(corpus["train"])))
    assert scores.characters.total == 0, [(one.utterance.text, one.hypothesis) for one in scores.scored]


def test_a_run_leaves_what_the_house_promises(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "train.log").read_text().splitlines()]
    out = trained.with_suffix(".out").read_text()
    assert out.count("reference:") == out.count("hypothesis:") == 6  # three samples in each of two epochs
    told = [float(wer) for wer in re.findall(r"dev loss .*, WER ([\d.]+)%", out)]
    assert told == pytest.approx([100 * line["wer"] for line in log if line["event"] == "epoch"], abs=0.011)
    assert [line["epoch"] for line in log if line["event"] == "epoch"] == [1, 2]
    assert all(0 <= line["padding"] < 1 and 0 <= line["input_wait"] <= 1 for line in log if line["event"] == "epoch")
    assert list((trained / "logs").glob("events*"))
    ends = [line["step"] for line in log if line["event"] == "epoch"]
    # The ends of the last two epochs, and whatever else is one of the newest two.
    assert {f"step-{step:08d}" for step in ends} <= set(names := checkpoint.names(trained / "checkpoints"))
    assert len(names) <= 3
    names = {path.name for path in (trained / "model").iterdir()}
    assert names == {"config.json", "weights.safetensors", "tokenizer.model", "README.md", "SHA256SUMS"}
    card = (trained / "model/README.md").read_text()
    assert "WER" in card and "24 utterances" in card


def test_the_model_folder_gives_the_same_texts_alone_and_in_a_batch(trained: Path, corpus: Path) -> None:
    recognizer = model_dir.load(trained / "model")
    assert recognizer.normalize == UtteranceNorm()
    utterances = measure(read_manifest(corpus / "test.tsv"))
    together = evaluate(recognizer, utterances, batch_seconds=1000)
    for one in together.scored:
        alone = recognizer.transcribe(one.utterance.audio)
        assert alone.text == one.hypothesis
        assert alone.seconds == pytest.approx(one.utterance.seconds, abs=1e-3)
    again = model_dir.load(trained / "model")
    assert [one.hypothesis for one in evaluate(again, utterances).scored] == [one.hypothesis for one in together.scored]


def test_hypotheses_of_a_beam_all_differ(trained: Path, corpus: Path) -> None:
    recognizer = model_dir.load(trained / "model")
    beam = dataclasses.replace(recognizer, decode=dataclasses.replace(recognizer.decode, beam_size=5))
    found = beam.transcribe(corpus / "test/00000.flac").hypotheses
    assert len({h.tokens for h in found}) == len(found) > 1
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


def test_very_short_audio_is_recognised_not_refused(trained: Path) -> None:
    recognizer = model_dir.load(trained / "model")
    for samples in (0, 1, 199, 200, 400):
        assert isinstance(recognizer(np.zeros(samples, np.float32)).text, str)


def interrupted(monkeypatch: pytest.MonkeyPatch, config: RunConfig, output: Path, at: int) -> None:
    """A run that ends in its step number `at`, after its optimizer and before anything is noted."""
    from asr_train.reporter import Reporter

    def step(self: Reporter, progress: Progress, *_: object, **__: object) -> None:
        if progress.step == at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "step", step)
        with pytest.raises(KeyboardInterrupt):
            train(config, output)


# Of the other family too, to the bit, in test_resume.py.
@pytest.mark.parametrize("tiny", ["deepspeech2"], indirect=True)
def test_resuming_in_the_middle_of_an_epoch_ends_where_the_whole_run_does(
    tiny: RunConfig, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(monkeypatch, tiny, tmp_path / "cut", at=5)
    newest, _ = checkpoint.newest(tmp_path / "cut/checkpoints")
    assert newest is not None and newest.name == "step-00000004"  # 2 steps between checkpoints, more than 4 an epoch
    assert json.loads((newest / "progress.json").read_text())["epoch"] == 0
    train(tiny, tmp_path / "cut", resume=True)
    ends = [checkpoint.newest(output / "checkpoints")[0] for output in (trained, tmp_path / "cut")]
    assert ends[0] is not None and ends[1] is not None and ends[0].name == ends[1].name
    whole, cut = (checkpoint.read(end)[0]["model"] for end in ends if end is not None)
    for name in whole:
        np.testing.assert_allclose(cut[name], whole[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("tiny", ["deepspeech2"], indirect=True)
def test_a_torn_checkpoint_is_passed_over_with_a_word(
    tiny: RunConfig, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from asr_train.loop import train

    shutil.copytree(trained, tmp_path / "run")
    run = prepare(tiny, tmp_path / "run", resume=True)
    assert train(run, quiet=True) is None  # it was finished
    newest, _ = checkpoint.newest(run.checkpoints)
    assert newest is not None
    torn = (newest / "model.safetensors").read_bytes()[:100]
    (newest / "model.safetensors").write_bytes(torn)
    assert train(run) is not None
    assert "skipped a damaged checkpoint" in capsys.readouterr().out


def test_a_second_run_refuses_or_resumes(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    one = dataclasses.replace(tiny_ctc, train=dataclasses.replace(tiny_ctc.train, epochs=1))
    prepare(one, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match="already holds a run; add --resume to continue it, or choose another"):
        prepare(one, tmp_path / "run")
    with pytest.raises(UserError, match=r"cannot resume with another configuration; train\.epochs changed"):
        prepare(tiny_ctc, tmp_path / "run", resume=True)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    prepare(one, tmp_path / "run", resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty, and not a run"):
        prepare(one, tmp_path / "other")


def test_dev_must_not_be_train(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    data = dataclasses.replace(tiny_ctc.data, dev=tiny_ctc.data.train)
    with pytest.raises(UserError, match="dev"):
        prepare(dataclasses.replace(tiny_ctc, data=data), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_long_utterances_are_left_out_with_a_word_or_refused(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    seconds = sorted(u.seconds or 0.0 for u in measure(read_manifest(tiny_ctc.data.train[0])))
    data = dataclasses.replace(tiny_ctc.data, max_seconds=seconds[-3])
    run = prepare(dataclasses.replace(tiny_ctc, data=data), tmp_path / "run")
    assert len(run.train) == 22 and "left out 2 of 24 utterances" in run.notes[0]
    with pytest.raises(UserError, match=r"train.tsv:\d+: .* above data.max_seconds"):
        prepare(
            dataclasses.replace(tiny_ctc, data=dataclasses.replace(data, over_length="error")),
            tmp_path / "second",
        )
    with pytest.raises(UserError, match="no training utterance"):
        prepare(dataclasses.replace(tiny_ctc, data=dataclasses.replace(data, max_seconds=0.01)), tmp_path / "third")


def test_texts_that_cannot_fit_are_left_out_of_ctc_with_a_word(corpus: Path, tmp_path: Path) -> None:
    rows = read_manifest(corpus / "train.tsv")
    rows[4] = dataclasses.replace(rows[4], text="one " * 200)
    write_manifest(tmp_path / "train.tsv", rows)
    data = {"train": [str(tmp_path / "train.tsv")], "dev": [str(corpus / "dev.tsv")]}
    char = {"tokenizer": {"kind": "char"}, "data": data}
    run = prepare(from_dict(char), tmp_path / "ctc")
    assert len(run.train) == 23 and re.search(r"left out 1 of 24 .*train.tsv:6", run.notes[0])
    assert len(prepare(from_dict({**char, "model": {"preset": "las-small"}}), tmp_path / "las").train) == 24


@pytest.mark.parametrize("normalize", ["global", "none"])  # the third is the others' in this file
def test_normalisation_is_part_of_the_model_folder(tiny_ctc: RunConfig, tmp_path: Path, normalize: str) -> None:
    data = dataclasses.replace(tiny_ctc.data, normalize=normalize)
    config = dataclasses.replace(tiny_ctc, data=data, train=dataclasses.replace(tiny_ctc.train, epochs=1))
    run = prepare(config, tmp_path / "run")
    again = prepare(config, tmp_path / "run", resume=True)
    assert again.normalize == run.normalize and (run.normalize is None) == (normalize == "none")
    train(config, tmp_path / "run", resume=True)
    assert model_dir.load(tmp_path / "run/model").normalize == run.normalize


def test_the_wer_is_not_the_mean_of_utterances_wers() -> None:
    short = Scored(Utterance(id="a", audio=Path("a"), text="yes"), "no", Errors(1, 0, 0, 1), Errors(0, 0, 0, 3))
    long = Scored(Utterance(id="b", audio=Path("b"), text="a b"), "a b", Errors(0, 0, 0, 10), Errors(0, 0, 0, 3))
    empty = Scored(Utterance(id="c", audio=Path("c"), text=""), "um", Errors(0, 0, 1, 0), Errors(0, 0, 2, 0))
    result = Evaluation((short, long), 1.0, 0.5)
    assert result.summary()["wer"]["rate"] == pytest.approx(1 / 11) and result.exact == 0.5
    with_empty = Evaluation((short, long, empty), 1.0, 0.5).summary()["wer"]
    assert with_empty["rate"] == pytest.approx(2 / 11) and with_empty["insertions"] == 1
    assert np.isfinite(Evaluation((empty,), 1.0, 0.5).summary()["wer"]["rate"])


def test_a_checkpoint_of_another_model_is_refused(trained: Path) -> None:
    variables = model_dir.load(trained / "model").family.model.variables
    arrays = arrays_of(variables)
    name = next(iter(arrays))
    with pytest.raises(UserError, match=f"here: weight {name} is missing"):
        assign(variables, {k: v for k, v in arrays.items() if k != name}, "here")
    with pytest.raises(UserError, match="weight other is not one of this model"):
        assign(variables, {**arrays, "other": arrays[name]}, "here")
    with pytest.raises(UserError, match=r"shape \(1,\), expected"):
        assign(variables, {**arrays, name: np.zeros(1, np.float32)}, "here")


def test_a_tokenizer_of_ones_own(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    first = prepare(tiny_ctc, tmp_path / "first")
    own = dataclasses.replace(tiny_ctc, tokenizer=TokenizerConfig(path=tmp_path / "first/tokenizer.model"))
    assert prepare(own, tmp_path / "second").tokenizer == first.tokenizer
