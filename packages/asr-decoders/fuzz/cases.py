"""Malformed inputs of every kind, and the calls that they are given to.

A case is a function of a source of chance, which calls the package and returns what it got. `MUST` is True where the
input is wrong for certain; elsewhere (a byte of a file that was changed) it may be as good as before, and then what
comes out must be sound, which the function checks.
"""

import gzip
import math
import os
import random
import struct
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from asr_decoders import CtcBeam, CtcGreedy, Vocabulary, ctc_align, ctc_score, errors, native
from asr_decoders.ngram import NGram, estimate
from asr_decoders.score import align, corpus_errors
from asr_decoders.testing import random_posteriors

V = 6
VOCABULARY = Vocabulary(("", " ", "a", "b", "c", "é"), special=(0,))
TEXT = ["a cab", "a bac", "bab a cab", "abc é", "cé ab", "b a b a"]
DATA = Path(__file__).resolve().parents[1] / "tests" / "data" / "ngram"
BINARIES = ("lm.probing", "lm.trie", "lm.trie_q", "lm.trie_a", "lm.trie_qa")
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
STRANGE = (None, "", "x", b"x", -1, 0, 1.5, math.nan, math.inf, -math.inf, True, (), [1], {}, 10**30, object())

Case = Callable[[random.Random], Any]


@cache
def model() -> NGram:
    return estimate(TEXT * 2, order=3, discount_fallback=(0.5, 1.0, 1.5))


@cache
def decoders() -> tuple[CtcBeam, ...]:
    return (
        CtcBeam(beam_size=8, n_best=4),
        CtcBeam(beam_size=8, n_best=4, top_k=3, beam_threshold=9.0, cumulative=0.99),
        CtcBeam(beam_size=8, n_best=4, vocabulary=VOCABULARY, lm=model(), hotwords={"bac": 3.0, "a cab": 5.0}),
        CtcBeam(beam_size=8, n_best=4, vocabulary=VOCABULARY, lm=model(), lm_level="token"),
        CtcBeam(beam_size=8, n_best=4, backend="numpy"),
    )


def posteriors(choose: random.Random, frames: int = 25) -> np.ndarray:
    rng = np.random.default_rng(choose.getrandbits(32))
    array = random_posteriors(rng.integers(1, V, frames // 4).tolist(), frames, V, rng)
    return array.astype(choose.choice((np.float32, np.float64)))


def decode(choose: random.Random, log_probs: Any) -> None:
    """Gives it to one of the functions that take log-probabilities."""
    decoder = choose.choice(decoders())
    choose.choice(
        (
            decoder,
            decoder,
            lambda given: decoder.finish(decoder.step(decoder.start(), given)),
            lambda given: decoder.batch([posteriors(choose), given], threads=choose.choice((1, 2))),
            CtcGreedy(),
            lambda given: ctc_score(given, [1, 2]),
            lambda given: ctc_align(given, [1, 2]),
        )
    )(log_probs)


def sound(hypotheses: list[Any]) -> None:
    """Raises AssertionError unless they are what a decoder may return."""
    scores = [hypothesis.score for hypothesis in hypotheses]
    require(bool(hypotheses) and all(map(math.isfinite, scores)), f"finite scores expected, got {scores}")
    require(scores == sorted(scores, reverse=True), f"best first expected, got {scores}")
    require(all(0 < token < V for each in hypotheses for token in each.tokens), "tokens of the vocabulary expected")


def require(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(law)


# ---- frames


def bad_numbers(choose: random.Random) -> None:
    """NaN, infinity and positive log-probabilities."""
    array = posteriors(choose)
    for _ in range(choose.randint(1, 3)):
        bad = choose.choice((math.nan, math.inf, 0.01, 1.0, 1e30, -math.nan))
        array[choose.randrange(len(array)), choose.randrange(V)] = bad
    decode(choose, array)


def impossible_frames(choose: random.Random) -> None:
    array = posteriors(choose)
    array[choose.randrange(len(array))] = -np.inf
    decoder = choose.choice((*decoders(), CtcGreedy()))
    decoder(array)


def wrong_shapes(choose: random.Random) -> None:
    array = posteriors(choose)
    wrong: tuple[Callable[[], Any], ...] = (
        lambda: array[0],
        lambda: array[None],
        lambda: array[:, :0],
        lambda: array.ravel(),
        lambda: np.float32(-1.0),
        lambda: array[:0].reshape(0),
        lambda: array.reshape(5, 5, V),
        lambda: [],
        lambda: [[-1.0, -2.0], [-1.0]],
        lambda: choose.choice(STRANGE),
    )
    decode(choose, choose.choice(wrong)())


def wrong_types(choose: random.Random) -> None:
    array = posteriors(choose)
    kinds = (complex, object, "U8", "S8", bool, "M8[s]", "m8[s]", [("a", "f4")])
    decode(choose, np.zeros(array.shape, choose.choice(kinds)))


def wrong_vocabulary_size(choose: random.Random) -> None:
    decoder = choose.choice(decoders()[2:4])
    size = choose.choice([1, 2, 5, 7, 1000])
    decoder(np.full((4, size), -math.log(size)))


def changed_vocabulary_size(choose: random.Random) -> None:
    decoder = choose.choice((decoders()[0], decoders()[1], decoders()[4]))
    state = decoder.step(decoder.start(), posteriors(choose))
    decoder.step(state, np.full((3, choose.choice((1, 2, 5, 7, 100))), -4.0))


def wrong_labels(choose: random.Random) -> None:
    function = choose.choice((ctc_score, ctc_align))
    wrong = choose.choice(([0], [V], [-1], [10**6], [1, 0, 2], [2**40], [-(2**40)], [1.5], ["a"], [None], [2**70]))
    function(posteriors(choose), wrong)


def too_few_frames(choose: random.Random) -> None:
    count = choose.randint(1, 6)
    ctc_align(posteriors(choose, 30)[: count - 1], [choose.choice((1, 2))] * count)


def random_bits(choose: random.Random) -> None:
    """Any floats: refused, or decoded."""
    dtype = choose.choice((np.float32, np.float64, np.float16))
    frames = choose.randrange(12)
    size = frames * V * np.dtype(dtype).itemsize
    array = np.frombuffer(choose.randbytes(size), dtype).reshape(frames, V)
    with np.errstate(all="ignore"):
        array = -np.abs(array) if choose.random() < 0.7 else array
        decoder = choose.choice(decoders())
        sound(decoder(array))


# ---- options and text


def wrong_options(choose: random.Random) -> None:
    wrong: dict[str, tuple[Any, ...]] = {
        "blank": (-1, 1.5, "0", None),
        "beam_size": (0, -3, 2.5, True, "8", None),
        "n_best": (0, 17, 1.5, None),
        "input": ("probs", "", None, 1),
        "token_min_log_prob": (0.5, math.nan, "x"),
        "top_k": (0, -1, 1.5, "3"),
        "cumulative": (0, -0.5, 1.5, math.nan, "x"),
        "beam_threshold": (-1, math.nan, "x"),
        "lm_level": ("character", None, 3),
        "lm_weight": (-1, math.nan, math.inf, "x", None),
        "word_bonus": (math.nan, math.inf, 1e9, "x", None),
        "unknown_log_prob": (1.0, -math.inf, math.nan, "x", None),
        "hotwords": ("abc", 7, [("a", 1.0)], {"": 1.0}, {" a": 1.0}, {"a  b": 1.0}, {"a": math.nan}, {"a": 1e6}),
        "backend": ("cuda", None, ""),
        "lm": (3, "lm.arpa", object()),
    }
    name = choose.choice(sorted(wrong))
    CtcBeam(**{"vocabulary": VOCABULARY, "lm_level": "word", name: choose.choice(wrong[name])})


def wrong_vocabularies(choose: random.Random) -> None:
    wrong: tuple[Callable[[], Any], ...] = (
        lambda: Vocabulary(()),
        lambda: Vocabulary(("a", "b", "a")),
        lambda: Vocabulary(("a", "b"), boundary=choose.choice(("words", "", None, 3))),
        lambda: Vocabulary(("a", "b"), special=(choose.choice((2, -1, 10**9)),)),
        lambda: VOCABULARY.piece(choose.choice((V, -1, 10**9))),
        lambda: VOCABULARY.id(choose.choice(("z", "ab", "\0"))),
        lambda: VOCABULARY.text([1, choose.choice((V, -1, 10**9))]),
    )
    choose.choice(wrong)()


def vocabulary_files(choose: random.Random) -> None:
    lines = ["<blank>", "a", "b", " ", "é"]
    content = choose.choice(("\n".join(lines), "".join(f"{line} {i}\n" for i, line in enumerate(lines)))).encode()
    with file_of(damaged(content, choose)) as path:
        require(len(Vocabulary.from_file(path)) > 0, "pieces expected")


def wrong_texts(choose: random.Random) -> None:
    errors("a b", "a", unit=choose.choice(("line", "", None, 3, "words")))


def wrong_corpora(choose: random.Random) -> None:
    texts = [strange_text(choose) for _ in range(choose.randrange(1, 5))]
    others: list[Any] = list(texts)
    options: dict[str, Any] = {}
    at = choose.randrange(len(others))
    accident = choose.randrange(4)
    if accident == 0:
        others[at] = choose.choice([one for one in STRANGE if not isinstance(one, str)])
    elif accident == 1:
        del others[at]
    elif accident == 2:
        options = choose.choice(({"unit": None}, {"unit": []}, {"weights": "x"}, {"weights": {}}, {"spaces": False}))
    else:
        texts = "a b"
    corpus_errors(*choose.sample((texts, others), 2), **options)


def any_texts(choose: random.Random) -> None:
    """Taken always, and counted and aligned alike by the library and in Python."""
    pairs = [(strange_text(choose), strange_text(choose)) for _ in range(choose.randrange(1, 6))]
    pairs += [(one, one[choose.randrange(40) :]) for one, _ in pairs]
    unit, weights = choose.choice(("word", "character")), choose.choice(("equal", "sclite"))
    spaces = unit == "word" or choose.random() < 0.5

    def found() -> tuple[Any, Any]:
        counted = corpus_errors(*zip(*pairs, strict=True), unit=unit, spaces=spaces, weights=weights)
        return counted, [align(*pair, weights=weights) for pair in pairs]

    by_default = found()
    os.environ["ASR_DECODERS_BACKEND"] = "numpy"
    try:
        in_python = found()
    finally:
        del os.environ["ASR_DECODERS_BACKEND"]
    require(by_default == in_python, "the same errors expected of the library and of Python")


def strange_text(choose: random.Random) -> str:
    """Any code points, lone surrogates and zeros among them; sometimes longer than the numbers of the library."""
    letters = choose.choice(("ab ", "a\0\ud800\U0010ffff \u3000\x1c", "é가힣 \t\n", "".join(map(chr, range(300)))))
    return "".join(choose.choices(letters, k=choose.choice((0, 1, 5, 63, 64, 65, 200, 700))))


def without_the_vocabulary(choose: random.Random) -> None:
    options: dict[str, Any] = choose.choice(({"lm": model()}, {"hotwords": {"a": 1.0}}))
    CtcBeam(**options)


# ---- states of streams


def damaged_states(choose: random.Random) -> None:
    decoder = choose.choice(decoders()[:4])
    stream = decoder.step(decoder.start(), posteriors(choose))
    beam = bytearray(stream.beam)  # what the native search puts into a pickle
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(beam))
        size = choose.choice((1, 2, 4, 8))
        value = choose.choice((*EXTREMES, choose.getrandbits(64)))
        beam[at : at + size] = struct.pack("<Q", value)[:size]
    if choose.random() < 0.3:
        del beam[choose.randrange(len(beam)) :]
    damaged = replace(stream, beam=bytes(beam))
    decoder.partial(damaged)
    decoder.settled(damaged)
    decoder.finish(damaged)
    decoder.finish(decoder.step(damaged, posteriors(choose, 10)))


def states_of_others(choose: random.Random) -> None:
    one, other = choose.sample(decoders()[:4], 2)
    wrong = choose.choice((choose.randbytes(choose.randrange(300)), other.start().beam + b"\0", *STRANGE))
    one.step(replace(one.start(), beam=wrong), posteriors(choose))


# ---- language models


ARPA = b"""\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.3
-1.1\t</s>
-0.5\ta\t-0.2
-0.7\tb\t-0.25
-0.9\tcab\t-0.1

\\2-grams:
-0.4\t<s> a\t-0.15
-0.3\ta b\t-0.25
-0.6\tb </s>
-0.2\ta cab\t0

\\3-grams:
-0.1\t<s> a b
-0.15\ta b </s>

\\end\\
"""


def arpa_files(choose: random.Random) -> None:
    content = choose.choice((ARPA, gzip.decompress((DATA / "lm.arpa.gz").read_bytes())))
    content = damaged(content, choose)
    if choose.random() < 0.3:
        content = gzip.compress(content)
        content = damaged(content, choose) if choose.random() < 0.5 else content
    read_model(content, choose)


def kenlm_files(choose: random.Random) -> None:
    content = bytearray((DATA / choose.choice(BINARIES)).read_bytes())
    for _ in range(choose.choice((1, 1, 2, 5, 40))):
        at = choose.choice((choose.randrange(160), choose.randrange(len(content)), choose.randrange(len(content))))
        size = choose.choice((1, 1, 2, 4, 8))
        content[at : at + size] = struct.pack("<Q", choose.choice((*EXTREMES, choose.getrandbits(64))))[:size]
    if choose.random() < 0.2:
        del content[choose.randrange(len(content)) :]
    read_model(bytes(content), choose)


def cut_files(choose: random.Random) -> None:
    """Truncated for certain: the end of an ARPA file or a binary is missing."""
    content = choose.choice((ARPA[:-8], *((DATA / name).read_bytes() for name in ("lm.probing", "lm.trie"))))
    read_model(content[: choose.randrange(len(content) - 1)], choose)


def read_model(content: bytes, choose: random.Random) -> None:
    with file_of(content) as path:
        lm = NGram.read(path)
        lm.log_probs(["the old captain", "a cab zebra", ""])
        level = choose.choice(("word", "token"))
        for backend in ("auto", "numpy"):
            decoder = CtcBeam(beam_size=6, vocabulary=VOCABULARY, lm=lm, lm_level=level, backend=backend)
            sound(decoder(posteriors(random.Random(0))))


# ---- what happens to bytes


class file_of:  # noqa: N801
    """A file of these bytes, while the block runs."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> Path:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "file"
        path.write_bytes(self._content)
        return path

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def damaged(content: bytes, choose: random.Random) -> bytes:
    """The bytes after one to four accidents."""
    data = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(data)) if data else 0
        accident = choose.randrange(6)
        if accident == 0:
            del data[at:]
        elif accident == 1:
            data[at : at + 1] = choose.randbytes(choose.choice((1, 1, 3)))
        elif accident == 2:
            del data[at : at + choose.choice((1, 2, 10, 200))]
        elif accident == 3:
            data[at:at] = choose.choice(
                (b"nan", b"-inf", b"1e999", b"\n", b"\t", b" ", b"\\", b"\0", b"\xff\xfe", b"-")
            )
        elif accident == 4:
            data[at:at] = data[at : at + choose.choice((1, 20, 100))]
        else:
            digits = [i for i, byte in enumerate(data) if 48 <= byte < 58] or [at]
            data[choose.choice(digits) :][:1] = b""
            at = choose.choice(digits)
            data[at : at + 1] = choose.choice((b"0", b"9", b"999999999", b"18446744073709551616", b"-7"))
    return bytes(data)


CASES: dict[str, tuple[Case, bool]] = {
    "numbers in frames": (bad_numbers, True),
    "impossible frames": (impossible_frames, True),
    "shapes": (wrong_shapes, True),
    "types": (wrong_types, True),
    "frames of another vocabulary": (wrong_vocabulary_size, True),
    "frames of another stream": (changed_vocabulary_size, True),
    "labels": (wrong_labels, True),
    "labels in too few frames": (too_few_frames, True),
    "random bits": (random_bits, False),
    "options": (wrong_options, True),
    "vocabularies": (wrong_vocabularies, True),
    "vocabulary files": (vocabulary_files, False),
    "units": (wrong_texts, True),
    "corpora": (wrong_corpora, True),
    "any texts": (any_texts, False),
    "no vocabulary": (without_the_vocabulary, True),
    "ARPA files": (arpa_files, False),
    "KenLM files": (kenlm_files, False),
    "cut model files": (cut_files, True),
}
if native.available():
    CASES |= {"damaged states": (damaged_states, False), "states of others": (states_of_others, True)}


def examine(seed: int, number: int) -> str:
    """What becomes of one case: "refused: ...", "taken" or, in the end to be avoided, "finding: ..."."""
    name = list(CASES)[number % len(CASES)]
    case, must = CASES[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case(random.Random(f"{seed} {number}"))
    except ValueError as error:
        message = str(error)
        if not message or "\n" in message or len(message) > 500:
            return f"finding: {name}: a message of one line expected, got {message[:300]!r}"
        return f"refused: {name}"
    except Exception as error:
        return f"finding: {name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return f"finding: {name}: it was taken" if must else f"taken: {name}"
