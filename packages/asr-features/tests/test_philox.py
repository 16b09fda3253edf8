"""Philox4x32-10 against Random123's known answers, whole numbers of Python, and TensorFlow's own generator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_features.philox import at_most, keys_of, philox4x32

# Random123 1.14, tests/kat_vectors, the lines "philox4x32 10": counter, key, answer.
KNOWN = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""
VECTORS = np.array([[int(word, 16) for word in line.split()] for line in KNOWN.split("\n") if line], np.uint32)

WORD = st.integers(0, 2**32 - 1)


def by_hand(counter, key):
    """The paper's round, ten times, in whole numbers without bounds."""
    (a, b, c, d), (first, second) = counter, key
    for _ in range(10):
        low, high = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (high >> 32) ^ b ^ first, high % 2**32, (low >> 32) ^ d ^ second, low % 2**32
        first, second = (first + 0x9E3779B9) % 2**32, (second + 0xBB67AE85) % 2**32
    return [a, b, c, d]


def test_known_answers():
    for row in VECTORS:
        got = philox4x32(row[:4], row[4:6])
        assert got.dtype == np.uint32
        assert got.tolist() == row[6:].tolist() == by_hand(row[:4].tolist(), row[4:6].tolist())
    assert np.array_equal(philox4x32(VECTORS[:, :4], VECTORS[:, 4:6]), VECTORS[:, 6:])


@settings(max_examples=100, deadline=None)
@given(st.lists(WORD, min_size=4, max_size=4), st.lists(WORD, min_size=2, max_size=2))
def test_any_counter_and_key(counter, key):
    assert philox4x32(counter, key).tolist() == by_hand(counter, key)


def test_counters_and_keys_broadcast():
    rng = np.random.default_rng(0)
    counters, keys = (rng.integers(0, 2**32, shape, np.uint32) for shape in ((5, 4), (3, 1, 2)))
    words = philox4x32(counters, keys)
    assert words.shape == (3, 5, 4)
    for i in range(3):
        for j in range(5):
            assert words[i, j].tolist() == by_hand(counters[j].tolist(), keys[i, 0].tolist())


def test_keys_are_the_halves_of_seeds():
    assert keys_of([0, 1, 2**32, 2**63 - 1]).tolist() == [[0, 0], [1, 0], [0, 1], [2**32 - 1, 2**31 - 1]]


@settings(max_examples=200, deadline=None)
@given(WORD, st.integers(0, 2**31 - 1))
def test_bounded_numbers_are_the_product_s_upper_half(word, most):
    got = int(at_most(np.uint32(word), most))
    assert 0 <= got <= most
    assert got == word * (most + 1) // 2**32


def test_every_number_up_to_the_bound_is_as_likely():
    words = np.arange(0, 2**32, 1001, dtype=np.uint64).astype(np.uint32)  # evenly over all words
    counts = np.bincount(at_most(words, 6))
    assert len(counts) == 7
    assert np.ptp(counts) <= 1


def test_tensorflow_s_own_philox_says_the_same():
    tf = pytest.importorskip("tensorflow")
    seed = 0x0123456789ABCDEF
    counters = np.zeros((6, 4), np.uint32)
    counters[:, 0] = np.arange(6)  # TensorFlow counts up the first word
    own = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=[24],
        key=tf.constant([seed], tf.uint64),
        counter=tf.zeros([2], tf.uint64),
        alg=1,  # Philox
        dtype=tf.uint32,
    )
    assert np.array_equal(own.numpy(), philox4x32(counters, keys_of(seed)).reshape(-1))
