"""Ids, pieces and text."""

import pytest

from asr_decoders import CtcBeam, CtcGreedy, Vocabulary


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
