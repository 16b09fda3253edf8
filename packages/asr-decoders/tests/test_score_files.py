"""Files of transcripts: their formats, and pairing by id."""

import pytest

from asr_decoders.score import read_pairs
from asr_decoders.score.files import read, speaker


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def texts(pairs):
    return [(pair.id, pair.reference, pair.hypothesis) for pair in pairs]


def test_formats_are_told_by_the_name(write) -> None:
    ids = write("ref.tsv", "s-1\ta b\ns-2 c\n")
    trn = write("hyp.trn", ";; a comment\na x (s-1)\n(s-2)\n")
    assert texts(read_pairs(ids, trn)) == [("s-1", "a b", "a x"), ("s-2", "c", "")]


def test_lines_are_paired_by_their_numbers(write) -> None:
    reference, hypothesis = write("ref.txt", "a b\n\nc\n"), write("hyp.txt", "a\nx\n\n")
    pairs = read_pairs(reference, hypothesis, reference_format="lines", hypothesis_format="lines")
    assert texts(pairs) == [("1", "a b", "a"), ("2", "", "x"), ("3", "c", "")]
    short = write("short.txt", "a\n")
    with pytest.raises(ValueError, match=r"2 ids of .*ref.txt are not in .*short.txt: 2, 3"):
        read_pairs(reference, short, reference_format="lines", hypothesis_format="lines")


def test_one_table_may_hold_both(write) -> None:
    table = write("scored.tsv", "Id\tReference\tHypothesis\tWords\nu1\ta b\ta\t2\nu2\t\tx\t0\n")
    both = read_pairs(table, table, reference_format="table", hypothesis_format="table")
    assert texts(both) == [("u1", "a b", "a"), ("u2", "", "x")]
    manifest = write("dev.tsv", "Audio\tText\tid\na.wav\ta b\tu1\nb.wav\tc\tu2\n")
    pairs = read_pairs(manifest, table, reference_format="table", hypothesis_format="table")
    assert texts(pairs) == [("u1", "a b", "a"), ("u2", "c", "x")]


def test_speakers(write) -> None:
    assert [speaker(name) for name in ("s1-u1", "s1_u1-2", "alone", "1089-134686-0000")] == [
        "s1",
        "s1",
        "alone",
        "1089",
    ]
    stm = write("ref.stm", "f A ann 0 1 a\nf A bob 1 2.5 <o,f0> b c\n")
    assert [(one.id, one.speaker, one.text) for one in read(stm).values()] == [
        ("f-A-0-1", "ann", "a"),
        ("f-A-1-2.5", "bob", "b c"),
    ]


def test_a_ctm_without_segments_goes_by_its_files(write) -> None:
    """Kaldi writes the utterance where NIST has the file; of what was not recognised there is no word."""
    reference = write("text", "u1 a b\nu2 c\n")
    ctm = write("hyp.ctm", ";; by time\nu1 1 0.50 0.10 b 0.5\nu1 1 0.10 0.20 a\n")
    assert texts(read_pairs(reference, ctm)) == [("u1", "a b", "a b"), ("u2", "c", "")]


def test_normalised_as_asked(write) -> None:
    pairs = read_pairs(write("ref", "u1 A\n"), write("hyp", "u1 B\n"), normalize=str.lower)
    assert texts(pairs) == [("u1", "a", "b")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.trn", "a b (u1)\nc d\n", "a.trn:2: a text and then an id in parentheses expected, got 'c d'"),
        ("a.trn", "a { b / c } (u1)\n", "a.trn:1: choices in braces are not scored here"),
        ("a.trn", "a (u1)\nb (u1)\n", "a.trn:2: the id u1 is there twice, first in line 1"),
        ("a.stm", "f A s 0 1 a\nf A s 0\n", "a.stm:2: file, channel, speaker, begin, end and text expected"),
        ("a.stm", "f A s 0 one a\n", "a.stm:1: seconds expected, got 'one'"),
        ("a.stm", "f A s 2 1 a\n", "a.stm:1: a segment that ends after it begins expected, got 2 to 1 s"),
        ("a.stm", ";; nothing\n", "a.stm has no segments"),
        ("a.stm", "f A s 0 1 a { b / @ }\n", "a.stm:1: choices in braces"),
        ("a.ctm", "f A 0 1 a\n", "a.ctm: a ctm has no utterances and can be the hypothesis only"),
    ],
)
def test_broken_references_are_one_line(write, name, text, message) -> None:
    path = write(name, text)
    with pytest.raises(ValueError, match=message) as raised:
        read_pairs(path, write("hyp", "u1 a\n"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f A 0 1\n", "hyp.ctm:1: file, channel, begin, duration and a word expected, got 'f A 0 1'"),
        ("f A 0 1 a 0.5 b\n", "hyp.ctm:1: file, channel"),
        ("f A 0 x a\n", "hyp.ctm:1: seconds expected, got 'x'"),
        ("f A 0 1 <ALT_BEGIN>\n", "hyp.ctm:1: alternatives are not scored"),
        ("f A 0 1 a\nf B 0 1 a\n", "hyp.ctm:2: the reference has no file f with channel B"),
    ],
)
def test_broken_words_are_one_line(write, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(write("ref.stm", "f A s 0 1 a\n"), write("hyp.ctm", text))


def test_an_unknown_id_of_a_ctm(write) -> None:
    with pytest.raises(ValueError, match="hyp.ctm:1: the reference has no id u2"):
        read_pairs(write("ref", "u1 a\n"), write("hyp.ctm", "u2 1 0 1 a\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n", "t.tsv:1: columns named id and reference or text expected, got a, b"),
        ("id\ttext\nu1\n", "t.tsv:2: 2 columns expected, as the first line has, got 1"),
        ("", "t.tsv is empty"),
    ],
)
def test_broken_tables_are_one_line(write, text, message) -> None:
    path = write("t.tsv", text)
    with pytest.raises(ValueError, match=message):
        read_pairs(path, path, reference_format="table", hypothesis_format="table")


def test_formats_are_named_where_one_is_wrong(write) -> None:
    with pytest.raises(ValueError, match="must be one of ids, lines, table, trn, stm, ctm, got 'srt'"):
        read(write("ref", "u1 a\n"), "srt")
