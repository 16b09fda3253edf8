"""Writes sclite/: what NIST's sclite says of random transcripts. It wants Debian's package sctk, 2.4.10."""

import random
import re
import subprocess
import tempfile
from pathlib import Path

OUTPUT = Path(__file__).parent / "sclite"
SCORES = re.compile(r"id: \((.*)\)\n(?:.*\n)*?Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)\n")
LETTERS = "abcdefghijkl"


def sclite(folder, *arguments):
    command = ["sctk", "sclite", *arguments, "-s", "-o", "pralign", "stdout"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def pairs(rng):
    """Words of few letters, so that many alignments are equally cheap; half are recognised well."""
    for n in range(400):
        letters = LETTERS[: rng.randint(2, 12)]
        said = [rng.choice(letters) for _ in range(rng.randint(1, 24))]
        heard = [rng.choice(letters) for _ in range(rng.randint(0, 24))]
        if n % 2:
            other = rng.choice(letters)
            heard = [word for unit in said for word in rng.choice([[], [unit], [unit], [unit, other], [other]])]
        yield " ".join(said), " ".join(heard)


def write_pairs():
    made = list(pairs(random.Random(0)))
    with tempfile.TemporaryDirectory() as folder:
        for name, side in (("ref.trn", 0), ("hyp.trn", 1)):
            lines = (f"{pair[side]} (s-{n})\n" for n, pair in enumerate(made))
            (Path(folder) / name).write_text("".join(lines))
        found = SCORES.findall(sclite(folder, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm"))
    counts = {int(name.removeprefix("s-")): scores for name, *scores in found}
    rows = ["\t".join([*pair, *counts[n]]) for n, pair in enumerate(made)]
    (OUTPUT / "pairs.tsv").write_text("\n".join(["reference\thypothesis\tC\tS\tD\tI", *rows]) + "\n")


def write_times():
    """Segments with gaps and words in them, a segment that is ignored, two channels."""
    rng = random.Random(1)
    segments, words = [";; file channel speaker begin end label text"], []
    for place in ("f1 A", "f1 B", "f2 A"):
        time = 0.0
        for n in range(6):
            begin, time = time + rng.choice([0, 0.5]), time + rng.choice([1.5, 2.5])
            text = " ".join(rng.choice(LETTERS) for _ in range(rng.randint(0, 6)))
            text = "IGNORE_TIME_SEGMENT_IN_SCORING" if place == "f1 B" and n == 2 else text
            segments.append(f"{place} speaker{rng.randint(1, 3)} {begin:.2f} {time:.2f} <o,f0> {text}".strip())
        at = 0.0
        while at < time + 1:
            words.append(f"{place} {at:.2f} {0.3:.2f} {rng.choice(LETTERS)} 0.9")
            at += rng.choice([0.2, 0.3, 0.7])
    (OUTPUT / "ref.stm").write_text("\n".join(segments) + "\n")
    (OUTPUT / "hyp.ctm").write_text("\n".join(words) + "\n")
    found = SCORES.findall(sclite(OUTPUT, "-r", "ref.stm", "stm", "-h", "hyp.ctm", "ctm"))
    (OUTPUT / "times.tsv").write_text("".join("\t".join(row) + "\n" for row in found))


def write_alignments():
    """The rows of alignments, as sclite prints them."""
    texts = [
        ("the cat sat on the mat", "the cat on a mat"),
        ("a b c d e", "d e x y z"),
        ("one", "one two three"),
        ("recognition of speech", "wreck a nice beach"),
        ("nothing is wrong", "nothing is wrong"),
    ]
    (OUTPUT / "ref.trn").write_text("".join(f"{said} (s-{n})\n" for n, (said, _) in enumerate(texts)))
    (OUTPUT / "hyp.trn").write_text("".join(f"{heard} (s-{n})\n" for n, (_, heard) in enumerate(texts)))
    printed = sclite(OUTPUT, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm")
    blocks = re.findall(r"^id: .*?^Eval:.*?$", printed, re.MULTILINE | re.DOTALL)
    kept = [[line.rstrip() for line in block.split("\n") if "Attributes" not in line] for block in blocks]
    rows = "\n\n".join("\n".join(lines) for lines in kept)
    (OUTPUT / "alignments.txt").write_text(rows + "\n")


if __name__ == "__main__":
    OUTPUT.mkdir(exist_ok=True)
    write_pairs()
    write_times()
    write_alignments()
