"""The CTC search, with and without language models and hotwords, against brute force and full expansion.

Both truths apply the rules of `fusion.py` to whole prefixes, and the n-gram model of the truth is a table here.
"""

import math

import numpy as np
import pytest

from asr_decoders import CtcBeam, Vocabulary
from asr_decoders.native import loader
from asr_decoders.ngram import NGram
from asr_decoders.testing import (
    every_labelling,
    full_expansion,
    hotword_weights,
    model_weights,
    random_posteriors,
    token_weights,
    word_weights,
)

BACKENDS = ["numpy", *(["native"] if loader.available() else [])]
CHARACTERS = Vocabulary(("<b>", " ", "a", "b"), special=(0,))
PIECES = Vocabulary(
    ("<b>", "\u2581", "\u2581a", "a", "b", "\u2581ab", "ba", "<0x62>", "<s>"), boundary="sentencepiece", special=(0, 8)
)
TOKENS = ("\u2581", "\u2581a", "a", "b", "\u2581ab", "ba")
WORDS = ("a", "ab", "b", "bab", "bb")
PARTS = ("score", "acoustic", "language", "bonus")


class Bigrams:
    """The model of the truth: rows of a table for every word before, and none."""

    def __init__(self, words, rng):
        self.vocabulary = ("<unk>", "<s>", "</s>", *words)
        size = len(self.vocabulary)
        self.log10 = np.log10(rng.dirichlet(np.ones(size), size + 1)).astype(np.float32)  # [size]: after nothing
        self.number = {word: i for i, word in enumerate(self.vocabulary)}

    def score(self, words, /, *, bos=True, eos=True):
        last, total = 1 if bos else len(self.vocabulary), 0.0
        for word in (*words, *["</s>"] * eos):
            number = self.number.get(word, 0)
            total += float(self.log10[last, number])
            last = number
        return total * math.log(10)

    def arpa(self):
        """The same model as a file: every bigram is there, unigrams are what comes after nothing."""
        lines = [
            "\\data\\",
            f"ngram 1={len(self.vocabulary)}",
            f"ngram 2={len(self.vocabulary) ** 2}",
            "",
            "\\1-grams:",
        ]
        lines += [f"{p!r}\t{w}\t0" for w, p in zip(self.vocabulary, self.log10[-1].tolist(), strict=True)]
        lines += ["", "\\2-grams:"]
        for first, row in zip(self.vocabulary, self.log10.tolist(), strict=False):
            lines += [f"{p!r}\t{first} {w}" for w, p in zip(self.vocabulary, row, strict=True)]
        return "\n".join([*lines, "", "\\end\\", ""])


class Table:
    """A `LanguageModel` over token ids."""

    def __init__(self, size, rng):
        self.log_probs = np.log(rng.dirichlet(np.ones(size + 1), size + 1))

    def start(self):
        return -1

    def step(self, state, token):
        return token, float(self.log_probs[state, token])

    def finish(self, state):
        return float(self.log_probs[state, -1])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """For words and for tokens: (model of the truth, the same read from a file)."""

    def pair(name, words):
        truth = Bigrams(words, np.random.default_rng(len(name)))
        path = tmp_path_factory.mktemp("models") / f"{name}.arpa"
        path.write_text(truth.arpa(), encoding="utf-8")
        return truth, NGram.read(path)

    return {"word": pair("word", WORDS), "token": pair("token", TOKENS)}


def add_ons(kind, vocabulary, models, rng):
    """Options of a decoder with language models and hotwords, and the truth of them."""
    scale = {
        "lm_weight": float(rng.uniform(0, 2)),
        "word_bonus": float(rng.normal(0, 1.5)),
        "sentence_boundaries": bool(rng.integers(2)),
    }
    unknown = {"unknown_log_prob": -float(rng.uniform(0, 12))}
    words = [*WORDS, "aa", "ba", "abb"]
    phrases = {
        " ".join(rng.choice(words, rng.integers(1, 3)).tolist()): float(rng.normal(2, 3))
        for _ in range(rng.integers(1, 5))
    }
    hot = kind in ("hotwords", "words and hotwords", "model and hotwords")
    options, weights = ({"hotwords": phrases}, [hotword_weights(vocabulary, phrases)]) if hot else ({}, [])
    if kind.startswith("words"):
        truth, lm = models["word"]
        options |= {"lm": lm, **scale, **unknown}
        weights.append(word_weights(vocabulary, truth, **scale, **unknown, hotwords=phrases if hot else ()))
    elif kind == "tokens":
        truth, lm = models["token"]
        options |= {"lm": lm, "lm_level": "token", **scale, **unknown}
        weights.append(token_weights(vocabulary, truth, **scale, **unknown))
    elif kind.startswith("model"):
        lm = Table(len(vocabulary), rng)
        options |= {"lm": lm, "lm_level": "token", **scale}
        weights.append(model_weights(lm, **scale))
    return options, weights


KINDS = ["nothing", "words", "tokens", "hotwords", "words and hotwords", "model", "model and hotwords"]


def random_log_probs(rng, frames, size):
    logits = rng.normal(0, rng.uniform(0.5, 4), (frames, size))
    logits[(rng.random(logits.shape) < 0.1) & (logits < logits.max(axis=1, keepdims=True))] = -np.inf
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def assert_same(found, expected, tolerance):
    """expected: tokens -> score, acoustic, language, bonus."""
    assert {h.tokens for h in found} == expected.keys()
    for h in found:
        assert [getattr(h, part) for part in PARTS] == pytest.approx(expected[h.tokens], abs=tolerance)
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("group", range(20))
def test_full_beam_is_brute_force(group, backend, models) -> None:
    for seed in range(50 * group, 50 * group + 50):
        rng = np.random.default_rng(seed)
        vocabulary = PIECES if seed % 2 and seed % 3 == 0 else CHARACTERS
        frames = int(rng.integers(0, 4 if vocabulary is PIECES else 6))
        log_probs = random_log_probs(rng, frames, len(vocabulary))
        kind = KINDS[seed % len(KINDS)]
        options, weights = add_ons(kind, vocabulary, models, rng)
        if backend == "native" and kind.startswith("model"):
            continue
        expected = {}
        for tokens, acoustic in every_labelling(log_probs).items():
            language, bonus, _ = np.sum([weigh(tokens, True) for weigh in weights] or [(0, 0, 0)], axis=0)
            expected[tokens] = acoustic + language + bonus, acoustic, language, bonus
        decode = CtcBeam(beam_size=2000, n_best=2000, vocabulary=vocabulary, backend=backend, align=False, **options)
        assert_same(decode(log_probs), expected, 1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("group", range(20))
def test_n_best_is_full_expansion(group, backend, models) -> None:
    for seed in range(50 * group, 50 * group + 50):
        rng = np.random.default_rng(10_000 + seed)
        vocabulary = PIECES if seed % 3 == 0 else CHARACTERS
        frames, beam_size = int(rng.integers(1, 18)), int(rng.integers(1, 7))
        if seed % 4:
            log_probs = random_log_probs(rng, frames, len(vocabulary))
        else:
            log_probs = random_posteriors(
                rng.integers(1, len(vocabulary), frames // 4).tolist(), frames, len(vocabulary), rng
            )
        kind = KINDS[seed % len(KINDS)]
        options, weights = add_ons(kind, vocabulary, models, rng)
        if backend == "native" and kind.startswith("model"):
            continue
        threshold = float(rng.uniform(2, 15)) if seed % 5 == 0 else None
        expected = full_expansion(log_probs, beam_size=beam_size, beam_threshold=threshold or math.inf, weights=weights)
        decode = CtcBeam(
            beam_size=beam_size,
            n_best=beam_size,
            beam_threshold=threshold,
            vocabulary=vocabulary,
            backend=backend,
            align=False,
            **options,
        )
        found = {h.tokens: [getattr(h, part) for part in PARTS] for h in expected}
        assert_same(decode(log_probs), found, 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_words_may_be_pieces_of_characters(backend, models) -> None:
    """Bytes that only go on with a character, so that a word may have no character at all."""
    truth, lm = models["word"]
    vocabulary = Vocabulary(
        ("<b>", "\u2581", "a", "<0xC3>", "<0xA9>", "<0x80>", "\u2581b"), boundary="sentencepiece", special=(0,)
    )
    for seed in range(40):
        rng = np.random.default_rng(seed)
        log_probs, beam_size = random_log_probs(rng, int(rng.integers(1, 12)), 7), int(rng.integers(1, 9))
        scale = {"lm_weight": 1.0, "word_bonus": float(rng.normal()), "unknown_log_prob": -float(rng.uniform(0, 8))}
        weigh = word_weights(vocabulary, truth, **scale)
        expected = full_expansion(log_probs, beam_size=beam_size, weights=[weigh])
        decode = CtcBeam(
            beam_size=beam_size, n_best=beam_size, vocabulary=vocabulary, lm=lm, align=False, backend=backend, **scale
        )
        assert_same(decode(log_probs), {h.tokens: [getattr(h, part) for part in PARTS] for h in expected}, 1e-9)


def test_the_file_is_the_table(models) -> None:
    for truth, lm in models.values():
        for words in ([], ["a"], ["a", "zz", "b", "\u2581a"]):
            for bos, eos in ((True, True), (False, False)):
                assert lm.score(words, bos=bos, eos=eos) == pytest.approx(
                    truth.score(words, bos=bos, eos=eos), abs=1e-9
                )
