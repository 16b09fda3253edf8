"""Files that are cut, damaged or something else: a ValueError of one line, which says where, and nothing else."""

import random
import struct
from pathlib import Path

import numpy as np
import pytest

from asr_decoders.ngram import NGram

DATA = Path(__file__).parent / "data" / "ngram"
BINARIES = ["lm.probing", "lm.trie", "lm.trie_q", "lm.trie_a", "lm.trie_qa"]
SENTENCES = ["the old captain has heard a wooden boat", "zebra café near the mill", ""]
KIND, HAS_WORDS, COUNTS = 96, 100, 108  # where a binary file says so

ARPA = """header of any kind
\\data\\
ngram 1=5
ngram 2=3
ngram  3=2

\\1-grams:
-1.5 <unk>
-99\t<s>\t-0.3
-1e-1\t</s>
-.5\ta\t-0.2

-0.7\tb\t-1.

\\2-grams:
-0.4\t<s> a\t-0.15
-0.3\ta b\t-0.25
-0.6\tb </s>

\\3-grams:
-0.1\t<s> a b
-0.15\ta b </s>\t0

\\end\\
"""


def read(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return NGram.read(path)


def use(model):
    """All that reads from the file."""
    model.log_probs(SENTENCES)
    model.lexicon  # noqa: B018
    return model


def test_the_file_that_is_damaged_below_is_well(tmp_path):
    model = read(tmp_path, ARPA)
    assert model.vocabulary == ("<unk>", "<s>", "</s>", "a", "b")
    assert model.score("a b") == pytest.approx((-0.4 - 0.1 - 0.15) * np.log(10), abs=1e-6)
    assert read(tmp_path, ARPA.replace("\n", "\r\n")).score("a b") == model.score("a b")
    assert read(tmp_path, ARPA.replace("<unk>", "<UNK>")).score("c") == model.score("c")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\data\\", "data", r"line 24: an ARPA file expected, got no line \\data\\"),
        ("ngram 1=5", "ngram 1=x", "line 3: 'ngram 1=' and a count expected, got 'ngram 1=x'"),
        ("ngram 2=3", "ngram 3=3", "line 4: 'ngram 2=' and a count expected"),
        ("ngram 1=5\nngram 2=3\nngram  3=2\n", "", r"line 4: 'ngram 1=' and a count expected, got '\\\\1-grams:'"),
        ("ngram 1=5", "ngram 1=6", "line 14: 6 1-grams expected, as the line 'ngram 1=6' says, got 5"),
        ("ngram  3=2", "ngram 3=1", "line 23: 1 3-grams expected, as the line 'ngram 3=1' says, got 2"),
        ("\\1-grams:", "\\one-grams:", r"line 7: \\1-grams: expected, got "),
        ("\\3-grams:", "\\4-grams:", r"line 20: \\3-grams: expected, got "),
        ("-.5\ta\t-0.2", "-.5", "line 11: a probability, 1 word and perhaps a back-off expected, got 1 fields: '-.5'"),
        (
            "-.5\ta\t-0.2",
            "-.5 a b -0.2",
            "line 11: a probability, 1 word and perhaps a back-off expected, got 4 fields",
        ),
        ("-0.3\ta b", "-0.3\ta", "line 17: a logarithm expected, got 'a'|line 17: .* expected"),
        ("-0.4", "x0.4", "line 16: a logarithm expected, got 'x0.4'"),
        ("-0.4", "nan", "line 16: a logarithm expected, got 'nan'"),
        ("-0.4", "-1e999", "line 16: a logarithm expected, got '-1e999'"),
        ("-0.25", "-0.2.5", "line 17: a logarithm expected, got '-0.2.5'"),
        ("-0.4", "0.4", "line 16: the logarithm of a probability, at most 0, expected, got '0.4'"),
        ("</s>\t0", "</s>\t-0.5", "line 22: no back-off expected in the longest n-grams, got '-0.5'"),
        ("a b\t-0.25", "a c\t-0.25", "line 17: words of the unigrams expected, got 'c', which is not one"),
        ("\tb\t-1.", "\ta\t-1.", "line 13: unigrams all different expected, got 'a' once more"),
        ("-0.7\tb", "-0.7\t<UNK>", "line 13: unigrams all different expected, got '<UNK>' once more"),
        ("a b\t-0.25", "<s> a\t-0.25", "line 17: 2-grams all different expected, got one that was there before"),
        ("a b </s>\t0", "<s> a b", "line 22: 3-grams all different expected"),
        ("\\end\\", "", r"line 24: \\end\\ expected, got the end of the file: it is cut"),
        ("\\end\\", "\\end\\\nmore", r"line 25: nothing expected after \\end\\, got 'more'"),
    ],
)
def test_a_damaged_arpa_file_is_refused_with_the_line(tmp_path, old, new, message):
    assert old in ARPA
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, ARPA.replace(old, new))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "file"))


def test_words_that_are_not_utf_8_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"line 13: words in UTF-8 expected, got '�t�'"):
        read(tmp_path, ARPA.replace("\tb\t", "\tété\t").encode("latin-1"))


def test_an_arpa_file_cut_anywhere_is_refused(tmp_path):
    for length in range(len(ARPA) - len("\\end\\\n"), -1, -1):
        with pytest.raises(ValueError, match="expected") as error:
            read(tmp_path, ARPA[:length])
        assert "\n" not in str(error.value)


def test_a_gzip_file_cut_anywhere_is_refused(tmp_path):
    whole = (DATA / "pruned.arpa.gz").read_bytes()
    for length in random.Random(0).sample(range(2, len(whole)), 40):
        with pytest.raises(ValueError, match="cut|expected") as error:
            read(tmp_path, whole[:length])
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="gzip file is cut or damaged"):
        read(tmp_path, whole[:1000] + bytes(100) + whole[1100:])


@pytest.mark.parametrize(
    "content", [b"", b"\n" * 100, bytes(10_000), b"PK\x03\x04" * 1000, b"\x1f\x8b", b"\xff" * 9_000_000]
)
def test_other_files_are_refused(tmp_path, content):
    with pytest.raises(ValueError, match="ARPA file expected|gzip file is cut"):
        read(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        NGram.read(tmp_path / "nothing.arpa")


@pytest.mark.parametrize("file", BINARIES)
def test_a_binary_file_cut_anywhere_is_refused(tmp_path, file):
    whole = (DATA / file).read_bytes()
    for length in [*range(1, 200, 7), *random.Random(0).sample(range(200, len(whole) - 1), 20), len(whole) - 1]:
        with pytest.raises(ValueError, match="expected|ends in its header|not a KenLM file") as error:
            use(read(tmp_path, whole[:length]))
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", BINARIES)
def test_a_binary_file_damaged_anywhere_is_refused_or_read(tmp_path, file):
    whole = (DATA / file).read_bytes()
    choose = random.Random(file)
    for _ in range(60):
        content = bytearray(whole)
        # Half of it in the header, where it counts.
        for place in choose.choices(range(144) if choose.random() < 0.5 else range(len(whole)), k=choose.randint(1, 4)):
            content[place] = choose.choice((0, 255, content[place] ^ 1 << choose.randrange(8)))
        try:
            model = use(read(tmp_path, bytes(content)))
        except ValueError as error:
            assert "\n" not in str(error), error
        else:
            assert model.order >= 2


@pytest.mark.parametrize("file", ["lm.trie", "lm.trie_q", "lm.trie_a"])
def test_a_trie_of_random_bits_is_read_within_its_bounds(tmp_path, file):
    whole = (DATA / file).read_bytes()
    start = len(whole) // 4
    for seed in range(20):
        noise = np.random.default_rng(seed).bytes(len(whole) - start - 500)
        try:
            model = use(read(tmp_path, whole[:start] + noise + whole[-500:]))
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert model.order == 4


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (34, b"format version 4\n", "'format version 5' expected, got 'format version 4'"),
        (34, b"incomplete\n", "whose build did not finish"),
        (60, bytes(4), "not a KenLM file of format version 5 of a little-endian"),
        (KIND, struct.pack("<i", 1), "kind probing or trie expected, got probing with rest costs"),
        (KIND, struct.pack("<i", 9), "kind probing or trie expected, got number 9"),
        (KIND, struct.pack("<i", 2), "search version 1 of KenLM's trie expected, got 0"),
        (92, struct.pack("<f", 0.5), "a probing multiplier of at least 1 expected, got 0.5"),
        (92, struct.pack("<f", float("nan")), "a probing multiplier of at least 1 expected, got nan"),
        (88, b"\x01", "order 2 or more"),
        (COUNTS, struct.pack("<Q", 1 << 62), "the header is damaged"),
        (COUNTS + 8, struct.pack("<Q", 1 << 30), "at least .* bytes expected from the counts in its header"),
    ],
)
def test_what_a_binary_header_says_is_checked(tmp_path, place, content, message):
    whole = bytearray((DATA / "lm.probing").read_bytes())
    whole[place : place + len(content)] = content
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, bytes(whole))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "file"))


@pytest.mark.parametrize("file", ["lm.probing", "lm.trie"])
def test_a_file_without_its_words_takes_them_as_an_argument(tmp_path, file):
    model = NGram.read(DATA / file)
    whole = bytearray((DATA / file).read_bytes())
    whole[HAS_WORDS] = 0
    path = tmp_path / "lm"
    path.write_bytes(whole[: -sum(len(word.encode()) + 1 for word in model.vocabulary)])
    wordless = NGram.read(path)
    assert wordless.score(SENTENCES[0]) == model.score(SENTENCES[0])
    with pytest.raises(ValueError, match="built without its words .-v.: give them to NGram.read"):
        wordless.lexicon  # noqa: B018
    assert NGram.read(path, words=sorted(model.vocabulary)).vocabulary == model.vocabulary
    with pytest.raises(
        ValueError, match="its 62 words besides <unk>, each once, expected, got 'zebra', which is not one"
    ):
        NGram.read(path, words=[*model.vocabulary, "zebra"])
    with pytest.raises(ValueError, match="expected, got 61 words besides <unk>"):
        NGram.read(path, words=model.vocabulary[:-1])
    with pytest.raises(ValueError, match="got an ARPA file"):
        NGram.read(DATA / "lm.arpa.gz", words=["a"])
