import gzip
import itertools
import json
import math
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

from asr_decoders.interfaces import LanguageModel
from asr_decoders.ngram import NGram
from asr_decoders.ngram.layout import Probing

DATA = Path(__file__).parent / "data" / "ngram"
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
STORED = json.loads((DATA / "scores.json").read_text(encoding="utf-8"))  # of kenlm, see make_ngram.py
FILES = ["lm.arpa.gz", "pruned.arpa.gz", "lm.probing", "lm.trie", "lm.trie_q", "lm.trie_a", "lm.trie_qa"]
WORDS = ("<unk>", "<s>", "</s>", "a", "b", "c", "d")


class Literal:
    """A back-off model as ARPA defines it: a dictionary and a recursion. Words that it does not have are <unk>."""

    def __init__(self, grams):
        self.grams = grams  # tuple of words -> (log10 probability, log10 back-off)

    def prob(self, history, word):
        gram = (*history, word)
        if gram in self.grams:
            return self.grams[gram][0]
        return self.grams.get(history, (0.0, 0.0))[1] + self.prob(history[1:], word)

    def score(self, words, bos=True, eos=True):
        order = max(map(len, self.grams))
        text = [word if (word,) in self.grams else "<unk>" for word in (*words, *["</s>"] * eos)]
        history, total = ("<s>",) * bos, 0.0
        for word in text:
            total += self.prob(history[max(0, len(history) - order + 1) :], word)
            history = (*history, word)
        return total * math.log(10)

    def write(self, path):
        order = max(map(len, self.grams))
        by_order = [[gram for gram in self.grams if len(gram) == n] for n in range(1, order + 1)]
        lines = ["\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in enumerate(by_order, start=1)), ""]
        for n, grams in enumerate(by_order, start=1):
            lines.append(f"\\{n}-grams:")
            for gram in grams:
                prob, backoff = self.grams[gram]
                lines.append(f"{prob}\t{' '.join(gram)}" + (f"\t{backoff}" if backoff else ""))
            lines.append("")
        path.write_text("\n".join([*lines, "\\end\\", ""]), encoding="utf-8")
        return path


def ragged(seed, order):
    """A model of n-grams drawn at random: neither the contexts nor the suffixes of all are there."""
    choose = random.Random(seed)
    backoff = -1.0 if order > 1 else 0.0
    grams = {(word,): (round(-choose.uniform(0.1, 3), 4), round(backoff * choose.random(), 4)) for word in WORDS}
    for n in range(2, order + 1):
        for gram in itertools.product(WORDS, repeat=n):
            if choose.random() < 1.2 / n**2:
                backoff = round(choose.choice((0, -choose.uniform(0, 1), choose.uniform(0, 0.1))), 4)
                grams[gram] = (round(-choose.uniform(0.2, 3), 4), backoff if n < order else 0.0)
    return Literal(grams)


def random_sentences(seed, count, words=(*WORDS[3:], "unknown")):
    choose = random.Random(seed)
    return [choose.choices(words, k=choose.randint(0, 7)) for _ in range(count)]


@pytest.mark.parametrize("file", FILES)
def test_scores_are_those_of_kenlm(file):
    model = NGram.read(DATA / file)
    expected = np.array(STORED["log10"][file.removesuffix(".arpa.gz")]) * math.log(10)
    assert np.abs(model.log_probs(STORED["sentences"]) - expected).max() < 3e-6
    assert model.order == (3 if file.startswith("pruned") else 4)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_the_definition_whatever_is_left_out(tmp_path, order, seed):
    literal = ragged(seed, order)
    model = NGram.read(literal.write(tmp_path / "ragged.arpa"))
    assert model.order == order
    sentences = random_sentences(seed, 60)
    for bos, eos in itertools.product((True, False), repeat=2):
        expected = [literal.score(sentence, bos, eos) for sentence in sentences]
        np.testing.assert_allclose(model.log_probs(sentences, bos=bos, eos=eos), expected, atol=2e-5)
        assert model.score(sentences[1], bos=bos, eos=eos) == pytest.approx(expected[1], abs=2e-5)


@pytest.mark.parametrize("file", ["lm.probing", "lm.trie", "lm.trie_q", "lm.trie_qa"])
def test_equal_states_are_equal_and_others_are_needed(file):
    """A state holds what the next words need: cut it, and some score changes; extend it, and none does."""
    model = NGram.read(DATA / file)
    words = np.arange(len(model))
    states = np.concatenate([states_after(model, sentence) for sentence in STORED["sentences"][:12]])
    for state in np.unique(states, axis=0):
        scores, _ = model.query(np.tile(state, (words.size, 1)), words)
        length = int((state[: model.order - 1] >= 0).sum())
        if length == 0:
            continue
        cut = state.copy()
        cut[length - 1], cut[model.order - 1 + length - 1] = -1, 0
        shorter, _ = model.query(np.tile(cut, (words.size, 1)), words)
        assert (shorter != scores).any(), model.vocabulary[state[0]]
    texts = {tuple(words): state.tobytes() for words, state in histories(model)}
    assert len(set(texts.values())) < len(texts)  # some histories are the same state


def states_after(model, sentence):
    states = [model.initial()]
    for word in model.word_ids(sentence.split()):
        states.append(model.query(states[-1], np.array([word]))[1])
    return np.concatenate(states)


def histories(model):
    for sentence in STORED["sentences"]:
        words = sentence.split()
        for n, state in enumerate(states_after(model, sentence)):
            yield words[:n], state


def test_the_tables_of_an_arpa_file_are_those_of_build_binary():
    """The same n-grams, and the same marks of what is part of a longer one."""
    ours, theirs = NGram.read(DATA / "lm.arpa.gz"), NGram.read(DATA / "lm.probing")
    assert isinstance(ours.layout, Probing)
    assert ours.vocabulary == theirs.vocabulary
    unigrams = ours.layout.unigrams.copy()
    unigrams["prob"][ours.begin] = 0.0  # KenLM does not mark <s>, of probability 1, as ending no n-gram
    assert_same_bits(unigrams, theirs.layout.unigrams)
    layouts = ((*model.layout.middle, model.layout.longest) for model in (ours, theirs))
    for left, right in zip(*layouts, strict=True):
        assert len(left) == len(right)
        assert_same_bits(*(np.sort(table[table["key"] != 0], order="key") for table in (left, right)))


def assert_same_bits(left, right):
    for name in left.dtype.names:
        bits = f"u{left[name].itemsize}"
        np.testing.assert_array_equal(left[name].view(bits), right[name].view(bits))


def test_many_queries_are_those_of_one_at_a_time():
    model = NGram.read(DATA / "lm.trie")
    words = model.word_ids(["the", "old", "captain", "has", "heard", "zebra"])
    assert words[-1] == 0
    state, states, total = model.start(), model.initial(), 0.0
    for word in words.tolist():
        state, log_prob = model.step(state, word)
        batch, many = model.query(np.tile(states, (5, 1)), np.full(5, word))
        assert (batch == log_prob).all()
        assert all(row.tobytes() == state for row in many)
        states, total = many[:1], total + log_prob
    total += model.finish(state)
    assert total == pytest.approx(model.score("the old captain has heard zebra"), abs=1e-12)
    protocol: LanguageModel[bytes] = model
    assert protocol.start() == model.initial().tobytes()


def test_an_unknown_word_is_unk():
    model = NGram.read(DATA / "lm.probing")
    assert model.word_ids(["zebra", "<unk>", "<UNK>", ""]).tolist() == [0, 0, 0, 0]
    assert model.score("the zebra") == model.score(["the", "<unk>"])
    assert model.vocabulary[0] == "<unk>" and len(model.vocabulary) == len(model) == 63
    assert model.vocabulary[model.begin] == "<s>" and model.vocabulary[model.end] == "</s>"


def test_a_file_without_unk_gives_it_nearly_nothing(tmp_path):
    literal = Literal(
        {("<s>",): (-99.0, -0.5), ("</s>",): (-0.4, 0.0), ("a",): (-0.2, -0.1), ("<s>", "a"): (-0.1, 0.0)}
    )
    model = NGram.read(literal.write(tmp_path / "nounk.arpa"))
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "a")
    assert model.score(["b"], eos=False) == pytest.approx((-0.5 - 100) * math.log(10), abs=1e-4)
    assert model.score(["a"]) == pytest.approx((-0.1 - 0.1 - 0.4) * math.log(10), abs=1e-6)


def test_perplexity():
    model = NGram.read(DATA / "lm.trie")
    text = ["the old captain", "nobody"]
    expected = math.exp(-(model.score(text[0]) + model.score(text[1])) / 6)
    assert model.perplexity(text) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least one sentence expected"):
        model.perplexity([])
    assert model.log_probs([]).shape == (0,)


@pytest.mark.parametrize("file", ["lm.arpa.gz", "lm.probing", "lm.trie_qa"])
def test_a_model_pickles(file):
    model = NGram.read(DATA / file)
    again = pickle.loads(pickle.dumps(model))
    assert again.vocabulary == model.vocabulary
    np.testing.assert_array_equal(again.log_probs(STORED["sentences"]), model.log_probs(STORED["sentences"]))


def test_the_same_words_whatever_the_file():
    vocabularies = [set(NGram.read(DATA / file).vocabulary) for file in FILES]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)
    assert {"café", "naïve", "baker's", "<s>"} < vocabularies[0]


def test_queries_are_checked():
    model = NGram.read(DATA / "lm.trie")
    with pytest.raises(ValueError, match=r"numbers of words in \[0, 63\) expected, got 63 ... 63"):
        model.query(model.initial(), np.array([63]))
    with pytest.raises(ValueError, match=r"states \(2, 6\) of int32 expected, got \(1, 6\)"):
        model.query(model.initial(), np.array([1, 2]))


def test_a_real_trigram_of_another_toolkit():
    path = SHARED / "fixtures" / "an4-lm" / "an4_full.trigram.lm"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    grams, order = {}, 0
    for line in path.read_text().split("\\data\\\n")[-1].splitlines():
        order = int(line[1]) if line.endswith("-grams:") else order
        fields = line.split()
        if order and len(fields) > 1:
            words = tuple("<unk>" if word == "<UNK>" else word for word in fields[1 : order + 1])
            grams[words] = (float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0)
    model, literal = NGram.read(path), Literal(grams)
    sentences = ["enter six zero", "c m u", "rubout k eight seven", "not a word of it", ""]
    expected = [literal.score(sentence.split()) for sentence in sentences]
    np.testing.assert_allclose(model.log_probs(sentences), expected, atol=1e-4)


def test_gzip_and_plain_text_are_the_same(tmp_path):
    (tmp_path / "lm.arpa").write_bytes(gzip.decompress((DATA / "lm.arpa.gz").read_bytes()))
    plain, packed = NGram.read(tmp_path / "lm.arpa"), NGram.read(DATA / "lm.arpa.gz")
    np.testing.assert_array_equal(plain.log_probs(STORED["sentences"]), packed.log_probs(STORED["sentences"]))
