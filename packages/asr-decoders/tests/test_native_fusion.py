"""Language models and hotwords of the native search against those in numpy, to 1e-9, and what a broken model does."""

import dataclasses
import random
import warnings
from pathlib import Path

import numpy as np
import pytest

from asr_decoders import CtcBeam, Vocabulary, native
from asr_decoders.frames import Preparation
from asr_decoders.fusion import Fusion
from asr_decoders.hotwords import HotwordContext, Hotwords
from asr_decoders.language import ModelContext, Scale, TokenContext, WordContext
from asr_decoders.native.models import supports
from asr_decoders.native.search import NativeSearch
from asr_decoders.ngram import NGram, estimate
from asr_decoders.ngram.layout import Probing
from asr_decoders.search import RANGE, NumpySearch
from asr_decoders.testing import random_posteriors

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))

DATA = Path(__file__).parent / "data" / "ngram"
FILES = ["lm.probing", "lm.trie", "lm.trie_q", "lm.trie_a", "lm.trie_qa", "lm.arpa.gz", "pruned.arpa.gz"]
TEXT = (DATA / "text.txt").read_text(encoding="utf-8").splitlines()
LETTERS = Vocabulary(("<blank>", *sorted({*"".join(TEXT), "'"})), special=(0,))
PIECES = Vocabulary(
    ("<blank>", *["▁", "▁the", "▁a", "▁old", "ain", "er", "▁c", "<0xC3>", "<0xA9>"], *"abcdefghijklmnoprstuvwy"),
    boundary="sentencepiece",
    special=(0,),
)
FALLBACK = (0.5, 1.0, 1.5)
SPELT = {
    vocabulary: estimate(
        [" ".join("|" if c == " " else c for c in line if c in "".join(vocabulary.pieces)) for line in TEXT],
        order=order,
        discount_fallback=FALLBACK,
    )
    for vocabulary, order in ((LETTERS, 3), (PIECES, 2))
}
PHRASES = {"old captain": 4.0, "cap": 6.0, "the": -2.0, "café near": 5.0, "a": 0.5, "zebra": 7.0}


@pytest.fixture(scope="module")
def models():
    return {name: NGram.read(DATA / name) for name in FILES} | {
        order: estimate(TEXT, order=order, discount_fallback=FALLBACK) for order in (1, 2, 4)
    }


def searches(rng, contexts):
    options = {
        "blank": 0,
        "beam_size": int(rng.integers(1, 24)),
        "beam_threshold": float(rng.choice([RANGE, RANGE, 12.0, 5.0])),
        "prepare": Preparation(top_k=int(rng.integers(2, 12)) if rng.random() < 0.3 else None),
        "fusion": Fusion(contexts),
    }
    return NumpySearch(**options), NativeSearch(**options)


def frames_of(rng, vocabulary):
    size, frames = len(vocabulary), int(rng.integers(0, 40))
    if rng.random() < 0.5:
        text = rng.choice(TEXT)
        tokens = [
            vocabulary.pieces.index(c)
            for c in text.replace(" ", "\u2581" if vocabulary is PIECES else " ")
            if c in vocabulary.pieces
        ]
        return random_posteriors(tokens[: frames // 3], frames, size, rng)
    logits = rng.normal(0, rng.uniform(0.5, 4), (frames, size))
    log_probs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    if rng.random() < 0.3:
        log_probs[(rng.random(log_probs.shape) < 0.3) & (log_probs < log_probs.max(axis=1, keepdims=True))] = -np.inf
    return log_probs


def assert_equal(rng, contexts, vocabulary):
    log_probs = frames_of(rng, vocabulary)
    reference, search = searches(rng, contexts)
    expected, found = (each.step(each.start(), log_probs) for each in (reference, search))
    for final in (True, False):
        left = {path.tokens: path[1:] for path in reference.paths(expected, 100, final=final)}
        right = {path.tokens: path[1:] for path in search.paths(found, 100, final=final)}
        assert right.keys() == left.keys()
        for tokens, parts in left.items():
            assert right[tokens] == pytest.approx(parts, abs=1e-9)


def random_scale(rng):
    return Scale(
        lm_weight=float(rng.choice([0.0, 0.5, 2.0])),
        word_bonus=float(rng.uniform(-2, 3)),
        unknown_log_prob=float(rng.uniform(-12, 0)),
        sentence_boundaries=bool(rng.integers(2)),
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("model", [*FILES, 1, 2, 4])
def test_words(models, model, seed) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = PIECES if seed % 2 else LETTERS
    hotwords = {} if seed % 3 else PHRASES
    contexts = [WordContext(vocabulary, models[model], random_scale(rng), hotwords)]
    if hotwords:
        contexts.append(hotword_context(vocabulary, hotwords))
    assert_equal(rng, contexts, vocabulary)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES])
def test_tokens(vocabulary, seed) -> None:
    rng = np.random.default_rng(seed)
    assert_equal(rng, [TokenContext(vocabulary, SPELT[vocabulary], random_scale(rng))], vocabulary)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES, dataclasses.replace(LETTERS, boundary="none")])
def test_hotwords(vocabulary, seed) -> None:
    rng = np.random.default_rng(seed)
    assert_equal(rng, [hotword_context(vocabulary, PHRASES)], vocabulary)


def hotword_context(vocabulary, phrases):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the phrases cannot be spelt
        return HotwordContext(vocabulary, Hotwords(phrases))


@pytest.mark.parametrize("name", ["lm.probing", "lm.trie", "lm.trie_q", "lm.trie_a", "lm.trie_qa"])
def test_damaged_models_do_no_harm(models, name) -> None:
    """What is read in a damaged file is nonsense, but nothing outside of it is."""
    layout = models[name].layout
    choose = random.Random(name)
    for _ in range(60):
        damaged = dataclasses.replace(models[name], layout=damage(layout, choose))
        context = WordContext(
            LETTERS, damaged, Scale(lm_weight=1.0, word_bonus=0.0, unknown_log_prob=-9.0, sentence_boundaries=True)
        )
        rng = np.random.default_rng(0)
        search = NativeSearch(
            blank=0, beam_size=20, beam_threshold=RANGE, prepare=Preparation(), fusion=Fusion([context])
        )
        try:
            search.paths(search.step(search.start(), frames_of(rng, LETTERS)), 20, final=True)
        except ValueError as error:
            assert "\n" not in str(error)


def damage(layout, choose):
    def bytes_of(array):
        data = bytearray(np.ascontiguousarray(array).tobytes())
        for _ in range(len(data) // 40 + 1):
            at = choose.randrange(len(data))
            data[at : at + 1] = choose.randbytes(1)
        return np.frombuffer(bytes(data), array.dtype)

    if isinstance(layout, Probing):
        middle = tuple(bytes_of(table) for table in layout.middle)
        return dataclasses.replace(
            layout, unigrams=bytes_of(layout.unigrams), middle=middle, longest=bytes_of(layout.longest)
        )
    packed = [dataclasses.replace(order, data=bytes_of(order.data)) for order in layout.packed]
    packed = [
        order if order.offsets is None else dataclasses.replace(order, offsets=bytes_of(order.offsets))
        for order in packed
    ]
    return dataclasses.replace(layout, unigrams=bytes_of(layout.unigrams), packed=tuple(packed))


class Same:
    """A model of one's own."""

    def start(self):
        return 0

    def step(self, state, token, /):
        return 0, -1.0

    def finish(self, state, /):
        return -1.0


def test_models_of_ones_own_stay_with_numpy() -> None:
    scale = Scale(lm_weight=1.0, word_bonus=0.0, unknown_log_prob=0.0, sentence_boundaries=True)
    assert not supports(Fusion([ModelContext(Same(), scale)]))
    assert supports(Fusion([hotword_context(LETTERS, PHRASES)]))
    assert supports(None)
    log_probs = random_posteriors([1, 2, 3], 20, 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match='backend "native" cannot'):
        CtcBeam(lm=Same(), lm_level="token", backend="native")(log_probs)
    auto, numpy = (CtcBeam(lm=Same(), lm_level="token", backend=backend) for backend in ("auto", "numpy"))
    assert auto(log_probs) == numpy(log_probs)
