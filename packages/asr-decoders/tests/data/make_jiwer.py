"""Writes jiwer.json: the errors that jiwer counts in 10,000 random pairs, as sums and a checksum of all.

Made with jiwer 4.0.0 and rapidfuzz 3.14.6, which agree.
"""

import json
import random
import zlib
from pathlib import Path

LETTERS = "abcdefghijkl"
OUTPUT = Path(__file__).with_name("jiwer.json")


def pairs(count=10_000):
    """Words of one letter, of few letters, so that many alignments are equally cheap; half are recognised well."""
    rng = random.Random(0)

    def number(least, most):  # random() alone is promised to stay the same from one Python to the next
        return least + int(rng.random() * (most - least + 1))

    for n in range(count):
        letters = LETTERS[: number(1, 12)]
        said = [letters[number(0, len(letters) - 1)] for _ in range(number(1, 25))]
        heard = [letters[number(0, len(letters) - 1)] for _ in range(number(1, 25))]
        if n % 2:
            others = (letters[number(0, len(letters) - 1)] for _ in iter(int, 1))
            heard = [w for u in said for w in ([], [u], [u], [u], [u], [u, next(others)], [next(others)])[number(0, 6)]]
        yield " ".join(said), " ".join(heard or said[:1])


def digest(counts):
    """The sums of (substitutions, deletions, insertions), and a checksum of every one."""
    rows = [tuple(row) for row in counts]
    return [*map(sum, zip(*rows, strict=True)), zlib.crc32(repr(rows).encode())]


def main():
    import jiwer
    from rapidfuzz.distance import Levenshtein

    found = {}
    for unit, process in (("word", jiwer.process_words), ("character", jiwer.process_characters)):
        counts = [process(*pair) for pair in pairs()]
        counts = [(one.substitutions, one.deletions, one.insertions) for one in counts]
        for pair, count in zip(pairs(), counts, strict=True):
            sides = [text.split() for text in pair] if unit == "word" else pair
            tags = [edit.tag for edit in Levenshtein.editops(*sides)]
            if count != tuple(map(tags.count, ("replace", "delete", "insert"))):
                raise SystemExit(f"jiwer and rapidfuzz differ: {pair}")
        found[unit] = digest(counts)
    OUTPUT.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
