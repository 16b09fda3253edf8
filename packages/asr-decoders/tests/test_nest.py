"""The state of attention decoding, whatever its arrays are."""

import sys
import types
import warnings
from collections import OrderedDict
from typing import NamedTuple

import numpy as np
import pytest

from asr_decoders import AttentionBeam, repeat
from asr_decoders.nest import reorder, take_rows, to_numpy


class Pair(NamedTuple):
    left: object
    right: object


def test_repeat_keeps_rows_of_an_utterance_together() -> None:
    state = OrderedDict(a=np.array([[1, 2], [3, 4]]), b=[Pair(np.array([5, 6]), None), ("text", 7, np.float32(8))])
    repeated = repeat(state, 3)
    assert type(repeated) is OrderedDict
    assert repeated["a"].tolist() == [[1, 2]] * 3 + [[3, 4]] * 3
    assert isinstance(repeated["b"][0], Pair)
    assert repeated["b"][0].left.tolist() == [5, 5, 5, 6, 6, 6]
    assert repeated["b"][0].right is None
    assert repeated["b"][1] == ("text", 7, 8)


def test_reorder_leaves_other_leading_dimensions_alone() -> None:
    shared = np.zeros((2, 5))
    state = reorder({"rows": np.arange(4), "shared": shared}, np.array([1, 1, 2, 0]))
    assert state["rows"].tolist() == [1, 1, 2, 0]
    assert state["shared"] is shared


@pytest.mark.parametrize("name", ["tensorflow", "torch"])
def test_finds_the_framework_of_an_array_among_the_imported_modules(name, monkeypatch) -> None:
    """Stand-ins with the calls that the two frameworks have."""
    leaf_type = type("Tensor", (), {"__module__": f"{name}.some.where", "device": "here"})
    leaf_type.index_select = lambda self, axis, rows: ("selected", axis, rows)
    module = types.ModuleType(name)
    module.gather = lambda leaf, rows: ("gathered", rows.tolist())
    module.as_tensor = lambda rows, device: (rows.tolist(), device)
    monkeypatch.setitem(sys.modules, name, module)
    expected = {"tensorflow": ("gathered", [1, 0]), "torch": ("selected", 0, ([1, 0], "here"))}
    assert take_rows(leaf_type(), np.array([1, 0])) == expected[name]


def test_arrays_of_pytorch_leave_its_graph_first() -> None:
    class Tensor:
        """A stand-in that is no array until it has been detached, moved and converted."""

        def __init__(self, *calls):
            self.calls = calls

        def detach(self):
            return Tensor("detach")

        def cpu(self):
            return Tensor(*self.calls, "cpu")

        def double(self):
            assert self.calls == ("detach", "cpu")
            return np.array([1.5])

    assert to_numpy(Tensor()).tolist() == [1.5]


def test_tensorflow_gives_the_same_hypotheses_as_numpy() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    weights, table = rng.normal(0, 1, (4, 4)), rng.normal(0, 2, (6, 4))
    output, start = rng.normal(0, 2, (4, 6)), rng.normal(0, 1, (3, 4))

    def numpy_step(tokens, state):
        values = np.tanh(state["h"] @ weights + table[tokens])
        logits = values @ output
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), {"h": values}

    def tensorflow_step(tokens, state):
        values = tf.tanh(state["h"] @ weights + tf.gather(table, tokens))
        return tf.nn.log_softmax(values @ output), {"h": values}

    search = AttentionBeam(begin=1, end=0, beam_size=4, n_best=4, length_norm="gnmt", length_penalty=0.6)
    expected = search(numpy_step, repeat({"h": start}, 4), batch=3, max_lengths=8)
    found = search(tensorflow_step, repeat({"h": tf.constant(start)}, 4), batch=3, max_lengths=8)
    for left, right in zip(found, expected, strict=True):
        assert [h.tokens for h in left] == [h.tokens for h in right]
        assert [h.score for h in left] == pytest.approx([h.score for h in right])
