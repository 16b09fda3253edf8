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


def test_half_precision_becomes_single() -> None:
    for dtype, expected in [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]:
        given = np.array([[0.5, -np.inf]], dtype=dtype)
        found = to_numpy(given)
        assert found.dtype == expected
        assert found.tolist() == given.tolist()
        assert found is not given


@pytest.mark.parametrize("wrong", [np.zeros((2, 2), dtype=int), np.zeros(2, dtype=bool), [["a"]], None, 1j])
def test_what_holds_no_floats_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="numbers of float32 or float64 expected, got"):
        to_numpy(wrong)


WEIGHTS, TABLE, OUTPUT, START = (
    np.random.default_rng(i).normal(0, scale, shape)
    for i, (scale, shape) in enumerate([(1, (4, 4)), (2, (6, 4)), (2, (4, 6)), (1, (3, 4))])
)


def numpy_model():
    def step(tokens, state):
        values = np.tanh(state["h"] @ WEIGHTS + TABLE[tokens])
        logits = values @ OUTPUT
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), {"h": values, "more": (None, 3)}

    return step, START


def tensorflow_model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        tf = pytest.importorskip("tensorflow")

    def step(tokens, state):
        values = tf.tanh(state["h"] @ WEIGHTS + tf.gather(TABLE, tokens))
        return tf.nn.log_softmax(values @ OUTPUT), {"h": values, "more": (None, 3)}

    return step, tf.constant(START)


def torch_model():
    torch = pytest.importorskip("torch")
    weights = torch.tensor(WEIGHTS, requires_grad=True)  # the graph of gradients is no obstacle

    def step(tokens, state):
        values = torch.tanh(state["h"] @ weights + torch.tensor(TABLE)[torch.as_tensor(tokens, dtype=torch.long)])
        return torch.log_softmax(values @ torch.tensor(OUTPUT), 1), {"h": values, "more": (None, 3)}

    return step, torch.tensor(START)


def jax_model():
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy

    @jax.jit
    def run(tokens, hidden):
        values = jnp.tanh(hidden @ WEIGHTS + jnp.asarray(TABLE)[tokens])
        return jax.nn.log_softmax(values @ OUTPUT), values

    def step(tokens, state):
        log_probs, values = run(tokens, state["h"])
        return log_probs, {"h": values, "more": (None, 3)}

    return step, jnp.asarray(START)


@pytest.mark.parametrize("model", [tensorflow_model, torch_model, jax_model])
@pytest.mark.parametrize("options", [{}, {"n_best": 4, "length_norm": "gnmt", "length_penalty": 0.6}])
def test_every_framework_gives_the_same_hypotheses(model, options) -> None:
    search = AttentionBeam(begin=1, end=0, beam_size=4, **options)
    results = []
    for make in (numpy_model, model):
        step, start = make()
        results.append(search(step, repeat({"h": start, "more": (None, 3)}, 4), batch=3, max_lengths=8))
    for left, right in zip(*results, strict=True):
        assert [h.tokens for h in left] == [h.tokens for h in right]
        assert [h.score for h in left] == pytest.approx([h.score for h in right])


def test_bfloat16_of_every_framework_becomes_single() -> None:
    torch, ml_dtypes = pytest.importorskip("torch"), pytest.importorskip("ml_dtypes")
    for array in (torch.tensor([0.5], dtype=torch.bfloat16), np.array([0.5], dtype=ml_dtypes.bfloat16)):
        assert to_numpy(array).dtype == np.float32
        assert to_numpy(array).tolist() == [0.5]
