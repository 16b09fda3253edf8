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
        ("u1\ta\nu1\tb\n", "u1\ta\n", "ref.tsv:2: the id u1 is there twice"),
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


@pytest.mark.parametrize("arguments", [[], ["only-one.tsv"], ["a", "b", "--unknown"]])
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
