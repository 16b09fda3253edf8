"""Makes the files of `ngram/`: small models by KenLM's tools, in all its formats, and their scores by `kenlm`.

    python make_ngram.py DIRECTORY

DIRECTORY holds lmplz and build_binary of KenLM (https://github.com/kpu/kenlm, whose sdist on the package index has
the sources as well: `cmake .. && make lmplz build_binary`, with Boost); the package `kenlm` is installed. Made with
kenlm 0.3.0. The text is our own: sentences of a small grammar.
"""

import gzip
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import kenlm

HERE = Path(__file__).parent / "ngram"
MODELS = {"lm": ("-o", "4"), "pruned": ("-o", "3", "--prune", "0", "0", "1")}
BINARIES = {
    "probing": ("probing",),
    "trie": ("trie",),
    "trie_q": ("-q", "5", "-b", "4", "trie"),
    "trie_a": ("-a", "22", "trie"),
    "trie_qa": ("-q", "6", "-b", "5", "-a", "22", "trie"),
}
PARTS = [
    "the old captain|a young fox|my neighbour|the baker's daughter|nobody|every student|our teacher|the café owner",
    "sees|has heard|often paints|remembers|will never find|carried|laughed at|was looking for|sold",
    "the harbour|a wooden boat|seven apples|her sister's letter|the last train|some honey|an open window|naïve songs",
    "|in the morning|before the rain|with great care|again and again|near the mill|for a while|at night",
]


def sentences(seed: int, count: int) -> list[str]:
    """Some parts are much more frequent than others, as words are."""
    choose = random.Random(seed)
    parts = [part.split("|") for part in PARTS]

    def one() -> str:
        return " ".join(choose.choice(part[: choose.randint(1, len(part))]) for part in parts).strip()

    return [one() for _ in range(count)]


def strange(seed: int, count: int) -> list[str]:
    """Sentences in which words are exchanged, left out, and unknown."""
    choose = random.Random(seed)
    found = []
    for sentence in sentences(seed, count):
        words = sentence.split()
        choose.shuffle(words)
        found.append(" ".join(word if choose.random() < 0.9 else "zebra" for word in words[: choose.randint(0, 9)]))
    return found


def main(tools: Path) -> None:
    HERE.mkdir(exist_ok=True)
    text = "\n".join(sentences(1, 160)) + "\n"
    (HERE / "text.txt").write_text(text, encoding="utf-8")
    held = sentences(2, 40) + strange(3, 60)
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in MODELS.items():
            command = [tools / "lmplz", *options, "-S", "100M", "--discount_fallback"]
            arpa = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
            Path(folder, f"{name}.arpa").write_bytes(arpa)
            (HERE / f"{name}.arpa.gz").write_bytes(gzip.compress(arpa, mtime=0))
            scores[name] = _scores(Path(folder, f"{name}.arpa"), held)
        for name, options in BINARIES.items():
            path = HERE / f"lm.{name}"
            subprocess.run([tools / "build_binary", *options, Path(folder, "lm.arpa"), path], check=True)
            scores[path.name] = _scores(path, held)
    (HERE / "scores.json").write_text(json.dumps({"sentences": held, "log10": scores}, indent=1), encoding="utf-8")


def _scores(path: Path, held: list[str]) -> list[float]:
    """Sums in double precision of what kenlm says of every word."""
    model = kenlm.Model(str(path))
    return [round(sum(prob for prob, _, _ in model.full_scores(sentence)), 7) for sentence in held]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
