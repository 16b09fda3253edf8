"""Starting from another recogniser: every weight is accounted for."""

import numpy as np
import pytest

from asr_train.errors import UserError
from asr_train.finetune import frozen, shared_pieces, take
from asr_train.tokenizer import Tokenizer


def test_weights_that_fit_are_taken_and_the_rest_is_named() -> None:
    rng = np.random.default_rng(1)
    old = {
        name: rng.normal(size=shape) for name, shape in {"a": (2, 3), "b": (4,), "out": (3, 5), "gone": (1,)}.items()
    }
    new = {
        name: rng.normal(size=shape) for name, shape in {"a": (2, 3), "b": (6,), "out": (3, 4), "more": (1,)}.items()
    }
    taken = take(old, new, axes={"out": 1}, pairs=np.array([[0, 0], [4, 2]]))
    assert (taken.whole, taken.by_piece, taken.fresh, taken.unused) == (("a",), ("out",), ("b", "more"), ("b", "gone"))
    np.testing.assert_array_equal(taken.weights["a"], old["a"])
    expected = np.stack([old["out"][:, 0], new["out"][:, 1], old["out"][:, 4], new["out"][:, 3]], 1)
    np.testing.assert_array_equal(taken.weights["out"], expected)
    for name in ("b", "more"):
        np.testing.assert_array_equal(taken.weights[name], new[name])


def test_units_of_one_number_in_two_vocabularies_are_not_confused() -> None:
    old, new = {"out": np.arange(4.0)}, {"out": np.full(4, -1.0)}
    taken = take(old, new, axes={"out": 0}, pairs=np.array([[0, 0], [2, 3]]))
    np.testing.assert_array_equal(taken.weights["out"], [0, -1, -1, 2])


def test_pieces_of_one_spelling_share_a_row() -> None:
    a = Tokenizer.train(["one two three"], kind="char")
    b = Tokenizer.train(["ten zero won"], kind="char")
    pairs = shared_pieces(a, b)
    assert pairs[:4].tolist() == [[a.pad, b.pad], [a.unknown, b.unknown], [a.begin, b.begin], [a.end, b.end]]
    common = {a.pieces[i] for i, _ in pairs[4:]}
    assert all(a.pieces[i] == b.pieces[j] for i, j in pairs[4:])
    assert common == (set(a.pieces) & set(b.pieces)) - {a.pieces[i] for i in range(4)} >= set("onetrw")
    identity = shared_pieces(a, a)
    assert sorted(identity.tolist()) == [[n, n] for n in range(a.size)]


NAMES = ["listener.recurrent_0/kernel", "listener.recurrent_0/bias", "speller/embedding", "speller.output/bias"]


def test_patterns_freeze_parts() -> None:
    assert frozen(NAMES, ["listener.*"]) == set(NAMES[:2])
    assert frozen(NAMES, ["*/bias", "speller/*"]) == {NAMES[1], NAMES[2], NAMES[3]}
    assert frozen(NAMES, []) == frozenset()


def test_a_pattern_of_nothing_or_of_everything_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"'lisener.\*' is no weight.*parts are listener.recurrent_0, speller, speller.output$"
    ):
        frozen(NAMES, ["speller*", "lisener.*"])
    with pytest.raises(UserError, match="nothing is left to train"):
        frozen(NAMES, ["*"])
