"""The rolling hash of beginnings, and the hash tables under it, against strings and dictionaries."""

import random

import numpy as np
import pytest

from asr_decoders.ngram.layout import WORD
from asr_decoders.ngram.lexicon import Lexicon, pieces
from asr_decoders.ngram.tables import fill, find
from asr_decoders.ngram.words import word_hashes


def random_words(seed, count):
    choose = random.Random(seed)
    return ["".join(choose.choices("abcé가", k=choose.randint(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("seed", range(3))
def test_beginnings_and_words(seed):
    words = list(dict.fromkeys(random_words(seed, 300)))
    lexicon = Lexicon.of(words)
    beginnings = {word.encode()[:n] for word in words for n in range(1, len(word.encode()) + 1)}
    asked = [*beginnings, *(word.encode() for word in random_words(seed + 100, 300)), b"zebra"]
    for text, found in zip(asked, lexicon.find(pieces(asked).hash).tolist(), strict=True):
        if text.decode(errors="replace") in words:
            assert found == words.index(text.decode())
        else:
            assert found == (-1 if text in beginnings else -2), text


def test_the_hash_of_a_word_spelt_in_pieces_is_that_of_the_word():
    choose = random.Random(0)
    for word in random_words(1, 100):
        text = word.encode()
        cuts = sorted(choose.sample(range(len(text) + 1), min(3, len(text))))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        factor, part_hash = pieces(parts)
        value = np.zeros(1, dtype=np.uint64)
        for i in range(len(parts)):
            value = value * factor[i : i + 1] + part_hash[i : i + 1]
        assert value == pieces([text]).hash


def test_of_equal_words_the_first_counts_and_the_empty_word_is_not_there():
    lexicon = Lexicon.of(["ab", "", "ab", "a"])
    assert lexicon.find(pieces([b"ab", b"a", b"", b"b"]).hash).tolist() == [0, 3, -2, -2]
    assert Lexicon.of([]).find(pieces([b"a"]).hash).tolist() == [-2]


def test_murmur_hash():
    """Of MurmurHash2.cpp (A. Appleby), MurmurHash64A with seed 0, one byte at a time."""
    texts = ["", "a", "seven77", "eight888", "nine99999", "한국어", "x" * 100]
    for text, found in zip(texts, word_hashes(texts).tolist(), strict=True):
        assert found == murmur(text.encode())


def murmur(text):
    product, word = 0xC6A4A7935BD1E995, (1 << 64) - 1
    value = len(text) * product & word
    whole = len(text) // 8 * 8
    for start in range(0, whole, 8):
        k = int.from_bytes(text[start : start + 8], "little") * product & word
        k = (k ^ k >> 47) * product & word
        value = (value ^ k) * product & word
    if text[whole:]:
        value = (value ^ int.from_bytes(text[whole:], "little")) * product & word
    value = (value ^ value >> 47) * product & word
    return value ^ value >> 47


@pytest.mark.parametrize("count", [0, 1, 2, 7, 1000])
def test_a_hash_table_finds_what_is_in_it(count):
    rng = np.random.default_rng(count)
    keys = np.unique(rng.integers(1, 2**64, count, dtype=np.uint64))
    # Homes at the end of the table: the search goes around it.
    crowded = (np.arange(1, 6, dtype=np.uint64) * np.uint64(max(keys.size + 6, (keys.size + 5) * 3 // 2))) - np.uint64(
        1
    )
    keys = np.unique(np.concatenate((keys, crowded)))
    table, places = fill(WORD, keys, id=np.arange(keys.size))
    np.testing.assert_array_equal(find(table, keys), places)
    np.testing.assert_array_equal(table["id"][places], np.arange(keys.size))
    other = np.setdiff1d(rng.integers(0, 2**64, 500, dtype=np.uint64), keys)
    assert (find(table, np.append(other, np.uint64(0))) == -1).all()


def test_a_full_table_ends_a_search():
    table = np.zeros(100, dtype=WORD)
    table["key"] = np.arange(100, 200)
    assert find(table, np.array([150, 7], dtype=np.uint64)).tolist() == [50, -1]
