"""CTC against all paths, PyTorch's and TensorFlow's own; the other losses against their definitions."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from asr_models import cross_entropy, ctc_loss
from asr_models.losses import accuracy, average_loss, correct_tokens, ctc_feasible, joint_loss


def all_paths(logits: np.ndarray, label: tuple[int, ...], blank: int) -> float:
    """-log of the summed probability of every path that reads as `label`."""
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = -np.inf
    for path in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        if tuple(k for k, _ in itertools.groupby(path) if k != blank) == label:
            total = np.logaddexp(total, log_probs[np.arange(len(path)), list(path)].sum())
    return -total


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_ctc_equals_the_sum_over_all_paths(blank: int) -> None:
    rng = np.random.default_rng(blank)
    symbols = [v for v in range(3) if v != blank]
    labels = [
        (),
        (symbols[0],),
        (symbols[0], symbols[0]),
        (symbols[1], symbols[0], symbols[1]),
        tuple(symbols),
    ]
    lengths = np.array([5, 1, 3, 4, 2], np.int32)
    logits = rng.normal(size=(5, 5, 3)).astype("f4") * 2
    padded = np.full((5, 4), 2, np.int32)  # rubbish beyond each label's own length
    for row, label in enumerate(labels):
        padded[row, : len(label)] = label
    got = ctc_loss(logits, lengths, padded, np.array([len(label) for label in labels], np.int32), blank=blank)
    expected = [all_paths(logits[b, : lengths[b]], labels[b], blank) for b in range(5)]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def random_batch(seed: int) -> tuple[tf.Tensor, ...]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 30, 9)).astype("f4") * 3
    labels = rng.integers(1, 9, (4, 7)).astype("i4")
    return tuple(map(tf.constant, (logits, np.array([30, 21, 16, 30], "i4"), labels, np.array([7, 5, 0, 1], "i4"))))


def value_and_gradient(loss, logits, weights=(1.0, 2.0, -1.0, 0.5)):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
        total = tf.reduce_sum(value * tf.constant(weights))
    return value, tape.gradient(total, logits)


@pytest.mark.parametrize("graph", [False, True])
def test_ctc_and_its_gradient_equal_tensorflows(graph: bool) -> None:
    def theirs(x: tf.Tensor, lengths: tf.Tensor, labels: tf.Tensor, label_lengths: tf.Tensor) -> tf.Tensor:
        return tf.nn.ctc_loss(labels, x, label_lengths, lengths, logits_time_major=False, blank_index=0)

    ways = [tf.function(f, autograph=False) if graph else f for f in (theirs, ctc_loss)]
    for seed in range(5):
        logits, *rest = random_batch(seed)
        expected, got = (value_and_gradient(lambda x, f=f, rest=rest: f(x, *rest), logits) for f in ways)
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
        np.testing.assert_allclose(got[1], expected[1], atol=1e-4)


def test_ctc_sees_each_utterances_own_length_not_the_padded_one() -> None:
    logits, lengths, labels, label_lengths = random_batch(7)
    longer = tf.concat([logits, tf.random.stateless_normal([4, 11, 9], [1, 2]) * 50], 1)
    value, gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), logits)
    padded, padded_gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), longer)
    np.testing.assert_allclose(value, padded, rtol=1e-6)
    np.testing.assert_allclose(gradient, padded_gradient[:, :30], atol=1e-6)
    for row, length in enumerate(lengths.numpy()):
        assert not padded_gradient.numpy()[row, length:].any()


def test_an_impossible_text_is_infinite_and_leaves_the_others_alone() -> None:
    logits, _, labels, _ = random_batch(8)
    lengths, label_lengths = tf.constant([30, 3, 0, 0]), tf.constant([7, 4, 0, 2])
    value, gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), logits)
    assert np.isfinite(value[0]) and value[1] == np.inf
    assert value[2] == 0  # no frames, no text: certain
    assert value[3] == np.inf
    assert np.isfinite(gradient).all() and not gradient.numpy()[1:].any() and gradient.numpy()[0].any()


def test_repeats_need_a_blank_between_them() -> None:
    logits = tf.zeros([1, 2, 3])
    assert ctc_loss(logits, [2], tf.constant([[1, 1]]), tf.constant([2])).numpy() == np.inf
    assert np.isclose(ctc_loss(logits, [2], tf.constant([[1, 2]]), tf.constant([2])).numpy(), 2 * np.log(3))


def in_float64(logits: np.ndarray, label: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient of one utterance with blank 0, by the textbook, in float64."""
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tokens = np.zeros(2 * len(label) + 1, int)
    tokens[1::2] = label
    skips = np.array([n > 1 and tokens[n] != 0 and tokens[n] != tokens[n - 2] for n in range(len(tokens))])

    def forward(scores: np.ndarray, skips: np.ndarray) -> np.ndarray:
        alpha = np.full(scores.shape, -np.inf)
        alpha[0, :2] = scores[0, :2]
        for t in range(1, len(scores)):
            one = np.concatenate([[-np.inf], alpha[t - 1, :-1]])
            two = np.where(skips, np.concatenate([[-np.inf] * 2, alpha[t - 1, :-2]]), -np.inf)
            alpha[t] = np.logaddexp(np.logaddexp(alpha[t - 1], one), two) + scores[t]
        return alpha

    scores = log_probs[:, tokens]
    alpha = forward(scores, skips)
    beta = forward(scores[::-1, ::-1], np.roll(skips, -2)[::-1])[::-1, ::-1]
    total = np.logaddexp(alpha[-1, -1], alpha[-1, -2])
    gradient = np.exp(log_probs)
    np.subtract.at(gradient.T, tokens, np.exp(alpha + beta - scores - total).T)
    return -total, gradient


def test_ctc_equals_pytorchs() -> None:
    """Stored by `data/ctc_torch.py`; blank 4, repeats, an empty text, one that just fits; int64 throughout."""
    stored = np.load(Path(__file__).parent / "data" / "ctc_torch.npz")
    assert stored["labels"].dtype == stored["lengths"].dtype == np.int64
    parts, blank = [stored[name] for name in ("lengths", "labels", "label_lengths")], int(stored["blank"])
    value, gradient = value_and_gradient(
        lambda x: ctc_loss(x, *parts, blank=blank), tf.constant(stored["logits"]), np.ones(5, "f4")
    )
    np.testing.assert_allclose(value, stored["losses"], rtol=1e-5)
    np.testing.assert_allclose(gradient, stored["gradient"], atol=1e-5)


@pytest.mark.parametrize("way", ["eager", "unknown shapes", "known shapes", "compiled"])
def test_the_gradient_of_a_long_utterance_is_exact_in_float32(way: str) -> None:
    """PyTorch's and TensorFlow's are off by 2e-3 here."""
    rng = np.random.default_rng(0)
    logits = (5 * rng.normal(size=(1, 700, 20))).astype("f4")
    label = rng.integers(1, 20, 150)
    expected_loss, expected = in_float64(logits[0].astype(float), label)

    def run(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return value_and_gradient(lambda x: ctc_loss(x, [700], label[None], [150]), x, [1.0])

    signature = [tf.TensorSpec([None, None, 20] if way == "unknown shapes" else [1, 700, 20])]
    graph = tf.function(run, input_signature=signature, autograph=False, jit_compile=way == "compiled")
    value, gradient = (run if way == "eager" else graph)(tf.constant(logits))
    np.testing.assert_allclose(value[0], expected_loss, rtol=1e-6)
    np.testing.assert_allclose(gradient[0], expected, atol=5e-5)


def test_ctc_gradient_is_that_of_finite_differences() -> None:
    logits, lengths, labels, label_lengths = random_batch(3)

    def loss(x: tf.Tensor) -> tf.Tensor:
        return ctc_loss(x, lengths, labels, label_lengths)

    _, gradient = value_and_gradient(loss, logits, [1.0, 1.0, 1.0, 1.0])
    rng = np.random.default_rng(0)
    for _ in range(10):
        direction = rng.normal(size=logits.shape).astype("f4") * 1e-2
        change = tf.reduce_sum(loss(logits + direction) - loss(logits - direction)) / 2
        np.testing.assert_allclose(change, np.sum(gradient * direction), atol=2e-3)


def test_bfloat16_logits_are_summed_in_float32() -> None:
    logits, lengths, labels, label_lengths = random_batch(2)
    halved = tf.cast(logits, tf.bfloat16)
    value, gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), halved)
    expected, same = value_and_gradient(
        lambda x: ctc_loss(x, lengths, labels, label_lengths), tf.cast(halved, tf.float32)
    )
    assert value.dtype == tf.float32 and gradient.dtype == tf.bfloat16
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(gradient, tf.cast(same, tf.bfloat16))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_logit_that_is_no_number_stays_in_its_utterance(compiled: bool) -> None:
    logits, lengths, labels, label_lengths = random_batch(4)
    broken = logits.numpy()
    broken[0, 5], broken[1, :, labels[1, 0]] = np.nan, -np.inf  # the second cannot be said
    broken[2, 20:], broken[3, 29] = np.nan, logits[3, 29] + 1e5  # padding; far from zero

    def run(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), x)

    value, gradient = tf.function(run, jit_compile=compiled, autograph=False)(tf.constant(broken))
    expected, same = run(logits)
    assert np.isnan(value[0]) and value[1] == np.inf and not gradient[1].numpy().any()
    np.testing.assert_allclose(value[2], expected[2], rtol=1e-6)
    np.testing.assert_allclose(gradient[2], same[2], atol=1e-6)
    assert np.isfinite(value[3]) and np.isfinite(gradient[3]).all()


def test_what_has_no_path_is_told() -> None:
    rng = np.random.default_rng(1)
    labels, label_lengths = rng.integers(1, 3, (200, 6)), rng.integers(0, 7, 200)
    lengths = rng.integers(0, 12, 200)
    told = ctc_feasible(lengths, labels, label_lengths)
    losses = ctc_loss(tf.zeros([200, 12, 3]), lengths, labels, label_lengths)
    np.testing.assert_array_equal(told, np.isfinite(losses))
    assert 20 < np.sum(told) < 180


def test_no_labels_and_no_frames_at_all() -> None:
    assert ctc_loss(tf.zeros([2, 0, 3]), [0, 0], tf.zeros([2, 1], tf.int32), [0, 1]).numpy().tolist() == [0, np.inf]
    value = ctc_loss(tf.zeros([1, 4, 3]), [4], tf.zeros([1, 0], tf.int32), [0])
    np.testing.assert_allclose(value, [4 * np.log(3)], rtol=1e-6)


def test_a_wrong_shape_is_told() -> None:
    with pytest.raises(ValueError, match="expected .B, T, V. logits and .B, L. labels"):
        ctc_loss(tf.zeros([4, 3]), [4], tf.zeros([1, 2], tf.int32), [2])


def test_cross_entropy_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 4, 5)).astype("f4"), rng.integers(0, 5, (2, 4)).astype("i4")
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    lengths = [4, 2]
    expected = []
    for b in range(2):
        target = np.eye(5)[labels[b]] * 0.9 + 0.1 / 5
        expected.append(-(target * log_probs[b])[: lengths[b]].sum())
    labels[1, 2:] = 77  # not even ids beyond the length are read
    got = cross_entropy(tf.constant(logits), tf.constant(labels), tf.constant(lengths), smoothing=0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_cross_entropy_refuses_a_smoothing_that_is_no_share() -> None:
    with pytest.raises(ValueError, match="smoothing is 1.5, expected a share"):
        cross_entropy(tf.zeros([1, 1, 2]), [[0]], [1], smoothing=1.5)


def test_cross_entropy_of_rubbish_in_the_padding_has_a_gradient() -> None:
    logits = tf.constant([[[1.0, 2.0], [np.nan, np.inf]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = cross_entropy(logits, np.array([[1, 9]]), np.array([1]), smoothing=0.1)
    gradient = tape.gradient(value, logits)
    assert np.isfinite(value).all() and np.isfinite(gradient[0, 0]).all() and np.any(gradient[0, 0])


def test_joint_loss_counts_what_has_no_path_by_its_spelling_alone() -> None:
    spelled, ctc = tf.constant([2.0, 3.0]), tf.constant([4.0, np.inf])
    with tf.GradientTape() as tape:
        tape.watch([spelled, ctc])
        joint = joint_loss(spelled, ctc, ctc_weight=0.25)
    np.testing.assert_allclose(joint, [0.75 * 2 + 0.25 * 4, 3])
    gradients = tape.gradient(joint, [spelled, ctc])
    np.testing.assert_allclose(gradients, [[0.75, 1], [0.25, 0]])
    with pytest.raises(ValueError, match="ctc_weight is 2"):
        joint_loss(spelled, ctc, ctc_weight=2)


@pytest.mark.parametrize(
    "by, expected", [("token", (6 + 2) / (3 + 2)), ("utterance", (6 + 2) / 2), ("utterance-token", (6 / 3 + 2 / 2) / 2)]
)
def test_averages_leave_the_infinite_out(by: str, expected: float) -> None:
    losses, lengths = tf.constant([6.0, np.inf, 2.0]), np.array([3, 4, 2])
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = average_loss(losses, lengths, by=by)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    gradient = tape.gradient(value, losses).numpy()
    assert gradient[1] == 0 and gradient[0] > 0 and gradient[2] > 0
    assert average_loss(tf.constant([np.inf]), [3], by=by).numpy() == 0
    with pytest.raises(ValueError, match="by is 'frame', expected one of token, utterance, utterance-token"):
        average_loss(losses, lengths, by="frame")


def test_accuracy_counts_real_tokens_only() -> None:
    logits = tf.one_hot([[1, 2, 3], [2, 2, 2]], 4)
    labels, lengths = np.array([[1, 2, 0], [2, 0, 2]]), np.array([3, 1])
    assert correct_tokens(logits, labels, lengths).numpy().tolist() == [2, 1]
    np.testing.assert_allclose(accuracy(logits, labels, lengths), 3 / 4)
    assert accuracy(logits, labels, np.array([0, 0])).numpy() == 0
