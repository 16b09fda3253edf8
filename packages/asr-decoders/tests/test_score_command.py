"""`python -m asr_decoders.score REF HYP`."""

import json
import subprocess
import sys

import pytest

from asr_decoders.score.__main__ import main

REFERENCE = "u1\tthe cat sat\nu2\ton the mat\nu3\t\n"
HYPOTHESIS = "u3\tuh\nu2\ton a mat\nu1\tthe cat\n"


@pytest.fixture
def files(tmp_path):
    def write(reference, hypothesis):
        paths = tmp_path / "ref.tsv", tmp_path / "hyp.tsv"
        for path, text in zip(paths, (reference, hypothesis), strict=True):
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return [str(path) for path in paths]

    return write


def test_prints_rates_and_counts(files) -> None:
    command = [sys.executable, "-W", "error", "-m", "asr_decoders.score", *files(REFERENCE, HYPOTHESIS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout == (
        "utterances 3\n"
        "WER 50.00 % (3 / 6 words: 1 substituted, 1 deleted, 1 inserted)\n"
        "CER 42.86 % (9 / 21 characters: 1 substituted, 6 deleted, 2 inserted)\n"
    )


def test_prints_json(files, capsys) -> None:
    assert main([*files(REFERENCE, HYPOTHESIS), "--json", "--no-spaces"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["utterances"] == 3
    assert printed["wer"] == {
        "rate": 0.5,
        "errors": 3,
        "reference": 6,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
    }
    assert printed["cer"]["reference"] == 17


def test_reads_text_of_kaldi(files, capsys) -> None:
    assert main(files("u1 a b\r\nu2\r\n", "\ufeffu2\nu1 a  b")) == 0
    assert "(0 / 2 words:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "hypothesis", "message"),
    [
        ("u1\ta\nu2\tb\n", "u1\ta\n", "1 ids of .*ref.tsv are not in .*hyp.tsv: u2"),
        (
            "u1\ta\n",
            "u1\ta\nu2\tb\nu3\nu4\nu5\n",
            r"4 ids of .*hyp.tsv are not in .*ref.tsv: u2, u3, u4 \.\.\.",
        ),
        ("u1\ta\nu1\tb\n", "u1\ta\n", "ref.tsv:2: the id u1 is there twice, first in line 1"),
        ("u1\ta\nu3\tb\n", "u1\ta\nu2\tb\n", r"1 ids of .*ref.tsv are not in .*hyp.tsv: u3 \(the first is in line 2\)"),
        ("u1\ta\n\nu2\tb\n", "u1\ta\n", "ref.tsv:2: an id, a tab and the text expected, got ''"),
        ("", "u1\ta\n", "ref.tsv is empty"),
        (b"u1\t\xff\n", "u1\ta\n", "ref.tsv is not UTF-8"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(files, capsys, reference, hypothesis, message) -> None:
    assert main(files(reference, hypothesis)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(printed.err)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["only-one.tsv"],
        ["a", "b", "--unknown"],
        ["a", "b", "--normalize", "klingon"],
        ["a", "b", "--confusions", "0"],
        ["a", "b", "--confusions", "x"],
        ["a", "b", "--resamples", "-1"],
        ["a", "b", "--format", "csv", "--alignments"],
        ["a", "b", "--hypothesis-format", "srt"],
    ],
)
def test_wrong_use_is_one_line_and_status_2(capsys, arguments) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_missing_file(tmp_path, capsys) -> None:
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    printed = capsys.readouterr().err
    assert "No such file" in printed
    assert printed.count("\n") == 1


def test_one_unit_with_normalised_text(files, capsys) -> None:
    paths = files("u1\tThe well-known cat's here.\n", "u1\tthe well known cat is  here\n")
    assert main([*paths, "--unit", "word", "--normalize", "english"]) == 0
    assert capsys.readouterr().out == "utterances 1\nWER 0.00 % (0 / 6 words: 0 substituted, 0 deleted, 0 inserted)\n"
    assert main([*paths, "--unit", "word"]) == 0
    assert "WER 150.00 % (6 / 4 words" in capsys.readouterr().out


def test_normalisers_are_applied_in_their_order(files, capsys) -> None:
    paths = files("u1\tb/ (3시)/(세 시)에, 만나\n", "u1\t세 시에 만나\n")
    order = ["--normalize", "ksponspeech-pronunciation", "--normalize", "korean", "--normalize", "jamo"]
    assert main([*paths, *order, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["wer"]["errors"], printed["cer"]["errors"]) == (0, 0)
    assert printed["cer"]["reference"] == 2 + 1 + 2 + 2 + 1 + 3 + 2  # letters and spaces


def test_korean_views(files, capsys) -> None:
    """The four rates of one pair, which differ in spacing alone."""
    paths = files("u1\t오늘 왜 전화했어\n", "u1\t오늘왜 전화 했어\n")
    rates = []
    for options in ([], ["--no-spaces"], ["--space-normalized"]):
        assert main([*paths, *options, "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        rates.append((printed["wer"]["rate"], round(printed["cer"]["rate"], 3)))
    assert rates == [(1.0, 0.222), (1.0, 0.0), (0.0, 0.0)]


def test_what_a_normaliser_refuses_is_told_with_its_line(files, capsys) -> None:
    assert main([*files("u1\ta\nu2\t(70%\n", "u1\ta\nu2\tb\n"), "--normalize", "ksponspeech"]) == 2
    assert "ref.tsv:2: parentheses that match expected, got '(70%'" in capsys.readouterr().err


def test_a_table_of_utterances(files, capsys) -> None:
    assert main([*files(REFERENCE, HYPOTHESIS), "--format", "csv", "--unit", "word"]) == 0
    assert capsys.readouterr().out == (
        "id,speaker,unit,reference,substitutions,deletions,insertions,errors,rate\n"
        "u1,u1,word,3,0,1,0,1,0.3333333333333333\n"
        "u2,u2,word,3,1,0,0,1,0.3333333333333333\n"
        "u3,u3,word,0,0,0,1,1,1.0\n"
    )


def test_speakers_and_confusions(files, capsys) -> None:
    paths = files("s1-1\ta b\ns2-1\tb c\ns1-2\tb\n", "s1-1\ta x\ns2-1\tc\ns1-2\ty x\n")
    assert main([*paths, "--unit", "word", "--speakers", "--confusions", "1"]) == 0
    assert capsys.readouterr().out == (
        "utterances 3\n"
        "WER 80.00 % (4 / 5 words: 2 substituted, 1 deleted, 1 inserted)\n"
        "speaker s1 WER 100.00 % (3 / 3 words: 2 substituted, 0 deleted, 1 inserted)\n"
        "speaker s2 WER 50.00 % (1 / 2 words: 0 substituted, 1 deleted, 0 inserted)\n"
        "WER substitutions, most frequent first\n"
        "     2  b -> x\n"
        "WER deletions, most frequent first\n"
        "     1  b\n"
        "WER insertions, most frequent first\n"
        "     1  y\n"
    )
    assert main([*paths, "--json", "--speakers", "--confusions", "5"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["speakers"]["s1"]["wer"]["reference"] == 3
    assert printed["confusions"]["wer"]["substitutions"] == [["b", "x", 2]]


def test_a_second_system_and_intervals(files, tmp_path, capsys) -> None:
    reference = "".join(f"u{n}\ta b c d\n" for n in range(40))
    first, second = reference.replace("a b", "a x"), reference.replace("9\ta b", "9\ta x")
    paths = files(reference, first)
    (tmp_path / "second.tsv").write_text(second)
    command = [*paths, "--compare", str(tmp_path / "second.tsv"), "--confidence", "--seed", "3", "--unit", "word"]
    assert main(command) == 0
    assert capsys.readouterr().out == (
        "utterances 40\n"
        "WER 25.00 % (40 / 160 words: 40 substituted, 0 deleted, 0 inserted)\n"
        "WER 95 % interval 25.00 to 25.00 % (1000 resamples)\n"
        "second WER 2.50 % (4 / 160 words: 4 substituted, 0 deleted, 0 inserted)\n"
        "second WER - WER -22.50 points, 95 % interval -24.38 to -20.00 points (1000 resamples); "
        "better with probability 1.000\n"
    )
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["wer"]["confidence"]["resamples"] == 1000
    assert printed["compare"]["wer"]["errors"] == 4
    assert printed["compare"]["wer"]["probability"] == 1.0
    assert printed["compare"]["wer"]["difference"]["value"] == pytest.approx(-0.225)


def test_with_speakers_it_is_speakers_that_are_drawn(files, capsys) -> None:
    """Utterances of one speaker are equally well recognised: there are but few who could differ."""
    reference = "".join(f"s{n % 4}-{n}\ta b\n" for n in range(80))
    hypothesis = reference.replace("s0-", "S0-").replace("a b", "a x").replace("S0-", "s0-")
    hypothesis = "\n".join(line.replace("a x", "a b") if line[1] in "12" else line for line in hypothesis.splitlines())
    paths = files(reference, hypothesis)
    widths = []
    for options in ([], ["--speakers"]):
        assert main([*paths, "--confidence", "--json", *options]) == 0
        found = json.loads(capsys.readouterr().out)["wer"]["confidence"]
        widths.append(found["high"] - found["low"])
    assert widths[1] > 2 * widths[0]


def test_alignments_as_json(files, capsys) -> None:
    assert main([*files("u1\ta b\n", "u1\ta\n"), "--alignments", "--json", "--no-spaces"]) == 0
    assert json.loads(capsys.readouterr().out)["alignments"] == [
        {
            "id": "u1",
            "wer": [["equal", "a", "a"], ["delete", "b", None]],
            "cer": [["equal", "a", "a"], ["delete", "b", None]],
        }
    ]


def test_writes_what_was_scored(files, tmp_path, capsys) -> None:
    paths = files("u1\tA b.\nu2\t\n", "u2\tC\nu1\tB\n")
    assert main([*paths, "--normalize", "basic", "--write-trn", str(tmp_path / "trn")]) == 0
    assert (tmp_path / "trn" / "ref.trn").read_text() == "a b (u1)\n (u2)\n"
    assert (tmp_path / "trn" / "hyp.trn").read_text() == "b (u1)\nc (u2)\n"
    before = capsys.readouterr().out
    assert main([str(tmp_path / "trn" / "ref.trn"), str(tmp_path / "trn" / "hyp.trn")]) == 0
    assert capsys.readouterr().out == before
