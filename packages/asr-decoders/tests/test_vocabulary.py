"""Ids, pieces and text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_decoders import CtcBeam, CtcGreedy, Vocabulary
from asr_decoders.interfaces import Word


def test_ids_and_pieces_are_inverse() -> None:
    vocabulary = Vocabulary(("<blank>", "a", "b", " "))
    assert len(vocabulary) == 4
    assert [vocabulary.id(vocabulary.piece(token)) for token in range(4)] == [0, 1, 2, 3]


def test_text_of_characters_has_single_spaces() -> None:
    vocabulary = Vocabulary(("<blank>", "a", "b", " "))
    assert vocabulary.text([3, 1, 3, 3, 2, 2, 3]) == "a bb"
    assert vocabulary.text([]) == ""


def test_text_of_sentencepieces() -> None:
    vocabulary = Vocabulary(("<pad>", "\u2581the", "\u2581do", "g", "s", "\u2581"), boundary="sentencepiece")
    assert vocabulary.text([1, 2, 3, 4]) == "the dogs"
    assert vocabulary.text([5, 3, 2]) == "g do"


def test_bytes_of_sentencepiece_become_text() -> None:
    pieces = ("\u2581", "<0xEA>", "<0xB0>", "<0x80>", "a")  # U+AC00 is EA B0 80 in UTF-8
    vocabulary = Vocabulary(pieces, boundary="sentencepiece")
    assert vocabulary.text([0, 1, 2, 3, 4]) == "\uac00a"
    assert vocabulary.text([1, 4]) == "\ufffda"


def test_no_boundary_joins_pieces_as_they_are() -> None:
    vocabulary = Vocabulary(("\uc548", "\ub155", " "), boundary="none")
    assert vocabulary.text([0, 1, 2, 0]) == "\uc548\ub155 \uc548"


def test_special_ids_are_left_out() -> None:
    vocabulary = Vocabulary(("<pad>", "<s>", "a"), special=(0, 1))
    assert vocabulary.text([1, 2, 0, 2]) == "aa"


def test_reads_a_file_of_one_piece_a_line(tmp_path) -> None:
    path = tmp_path / "units.txt"
    path.write_text("<blank>\n \na\n\u2028\n", encoding="utf-8")  # U+2028 is a character, not the end of a line
    assert Vocabulary.from_file(path, special=[0]) == Vocabulary(("<blank>", " ", "a", "\u2028"), special=(0,))


@pytest.mark.parametrize("text", ["a\t-1.5\nb\t-2\n", "<blank> 0\na 1\n"])
def test_refuses_a_table(tmp_path, text) -> None:
    path = tmp_path / "units.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="one piece a line"):
        Vocabulary.from_file(path)


def test_missing_file(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="one piece a line"):
        Vocabulary.from_file(tmp_path / "nothing.txt")


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="all different"):
        Vocabulary(("a", "b", "a"))
    with pytest.raises(ValueError, match="at least one piece"):
        Vocabulary(())
    with pytest.raises(ValueError, match="space, sentencepiece, none"):
        Vocabulary(("a",), boundary="word")
    with pytest.raises(ValueError, match="0 to 0"):
        Vocabulary(("a",), special=(1,))
    with pytest.raises(ValueError, match="0 to 0"):
        Vocabulary(("a",)).text([-1])
    with pytest.raises(ValueError, match="'z'"):
        Vocabulary(("a",)).id("z")


def test_lists_are_welcome_and_equal_fields_are_equal_functions() -> None:
    assert Vocabulary(["a", "b"]) == Vocabulary(("a", "b"))
    assert hash(CtcBeam(vocabulary=Vocabulary(["a"]))) == hash(CtcBeam(vocabulary=Vocabulary(("a",))))
    assert CtcGreedy(blank=1) != CtcGreedy(blank=2)


def test_spellings_are_what_ids_add_to_the_text() -> None:
    assert Vocabulary(("<s>", " ", "a b", "\u00fc"), special=(0,)).spellings == (b"", b" ", b"a b", "\u00fc".encode())
    pieces = Vocabulary(("", "\u2581a", "<0xea><0xB0>", "<0x2>", "b\u2581"), boundary="sentencepiece")
    assert pieces.spellings == (b"", b" a", b"\xea\xb0", b"<0x2>", b"b ")
    assert Vocabulary(("\u2581a", "<0x20>"), boundary="none").spellings == ("\u2581a".encode(), b"<0x20>")


def test_words_and_where_they_are() -> None:
    vocabulary = Vocabulary(("", " ", "a", "b"), special=(0,))
    tokens, frames = (1, 2, 3, 1, 1, 3), ((0, 1), (2, 4), (5, 6), (7, 8), (8, 9), (10, 13))
    assert vocabulary.words(tokens, frames) == (Word("ab", 2, 6), Word("b", 10, 13))
    assert vocabulary.words((), ()) == ()
    assert Vocabulary(("", "a"), boundary="none").words((1,), ((0, 1),)) == ()


def test_words_of_sentencepieces() -> None:
    pieces = ("<s>", "\u2581a", "b\u2581c", "\u2581", "<0xEA>", "<0xB0>", "<0x80>", "d")
    vocabulary = Vocabulary(pieces, boundary="sentencepiece", special=(0,))
    frames = [(i, i + 1) for i in range(8)]
    assert vocabulary.words((0, 1, 2, 3, 4, 5, 6, 0), frames) == (
        Word("ab", 1, 3),
        Word("c", 2, 3),  # one token has letters of both
        Word("\uac00", 4, 7),
    )
    assert vocabulary.words((4, 5, 7), frames[:3]) == (Word("\ufffdd", 0, 3),)


@given(st.lists(st.integers(0, 8), max_size=12))
def test_words_are_those_of_the_text(tokens) -> None:
    frames = [(i, i + 1) for i in range(len(tokens))]
    for boundary, space in (("space", " "), ("sentencepiece", "\u2581")):
        pieces = ("<s>", space, f"{space}a", f"b{space}c", "d", "<0xEA>", "<0xB0>", "<0x80>", "<0x20>")
        vocabulary = Vocabulary(pieces, boundary=boundary, special=(0,))
        assert [word.text for word in vocabulary.words(tokens, frames)] == vocabulary.text(tokens).split(" ") * bool(
            vocabulary.text(tokens)
        )
