"""Counting errors: CPU time, one thread, in turns with jiwer and rapidfuzz, whichever are installed."""

import argparse
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from asr_decoders.score import Errors, compare, confidence, errors

UTTERANCES = 1000
CASES = [("word", 12), ("word", 35), ("character", 12), ("character", 35)]  # unit, words of an utterance
RATES = [0.05, 0.15]
# At least how many times our CPU time jiwer is to take, an utterance a call, for 12 words and a rate of 15 %.
GOALS = {"word": 3, "character": 1}
LETTERS = "etaoinshrdlucmfwypvbgk"


def vocabulary(rng: random.Random) -> list[str]:
    """Words as long as those of English."""
    return ["".join(rng.choices(LETTERS, range(len(LETTERS), 0, -1), k=rng.randint(1, 8))) for _ in range(3000)]


def corpus(words: int, rate: float, count: int, rng: random.Random) -> list[tuple[str, str]]:
    """References and hypotheses: of ten errors two are deletions, two insertions, and six another letter in a word."""
    known = vocabulary(rng)
    weights = [1 / n for n in range(1, len(known) + 1)]
    made = []
    for _ in range(count):
        said = rng.choices(known, weights, k=words)
        heard = []
        for word in said:
            drawn = rng.random() / rate
            place = rng.randrange(len(word))
            changed = word[:place] + rng.choice(LETTERS) + word[place + 1 :]
            new = (
                [] if drawn < 0.2 else [word, rng.choice(known)] if drawn < 0.4 else [changed] if drawn < 1 else [word]
            )
            heard += new
        made.append((" ".join(said), " ".join(heard)))
    return made


def ours(pairs, unit):
    return lambda: sum((errors(*pair, unit=unit) for pair in pairs), Errors())


def by_jiwer(pairs, unit):
    import jiwer

    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    return lambda: [process(*pair) for pair in pairs]


def by_jiwer_at_once(pairs, unit):
    import jiwer

    process = jiwer.process_words if unit == "word" else jiwer.process_characters
    said, heard = map(list, zip(*pairs, strict=True))
    return lambda: process(said, heard)


def by_rapidfuzz(pairs, unit):
    from rapidfuzz.distance import Levenshtein

    units = str.split if unit == "word" else str

    def call():
        for reference, hypothesis in pairs:
            tags = [edit.tag for edit in Levenshtein.editops(units(reference), units(hypothesis))]
            tags.count("replace"), tags.count("delete"), tags.count("insert")

    return call


PEERS = {
    "jiwer": ("jiwer", by_jiwer),
    "jiwer, all in one call": ("jiwer", by_jiwer_at_once),
    "rapidfuzz": ("rapidfuzz", by_rapidfuzz),
}


def interleave(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each call, over so many rounds in which each is called once."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def row(title: str, pairs: list[tuple[str, str]], unit: str, rounds: int, scale: float) -> list[str]:
    """Our time and, of each peer, the time and how many times ours it is."""
    peers = {name: make for name, (needed, make) in PEERS.items() if importlib.util.find_spec(needed)}
    calls = {name: make(pairs, unit) for name, make in {"ours": ours, **peers}.items()}
    seconds = interleave(calls, rounds)
    cells = [f"{scale * seconds['ours']:.1f}"]
    for name in PEERS:
        found = seconds.get(name)
        cells.append("not installed" if found is None else f"{scale * found:.1f} (**{found / seconds['ours']:.1f}**)")
    return [title, *cells]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def made() -> str:
    """How the tables were made, in words that hold for many machines."""
    packages = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("asr-decoders", "numpy", "jiwer", "rapidfuzz")
        if importlib.util.find_spec(name.replace("-", "_"))
    )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    return f"Made by `python benchmarks/score.py` on {datetime.date.today():%Y-%m-%d}: {machine}, {packages}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each is measured (default %(default)s)")
    parser.add_argument("--output", type=Path, help="write the tables to this Markdown file too")
    options = parser.parse_args()
    rng = random.Random(0)

    rows = []
    for unit, words in CASES:
        for rate in RATES:
            title = f"{unit}s, {words} words, {100 * rate:g} % of them wrong"
            rows.append(row(title, corpus(words, rate, UTTERANCES, rng), unit, options.rounds, 1e6 / UTTERANCES))
    header = ["an utterance of", "asr-decoders", *PEERS]
    utterances = table([*header], rows)

    long = [row("11,392 words in one", corpus(11_392, 0.15, 1, rng), "word", max(options.rounds // 2, 1), 1e3)]
    counted = [errors(*pair) for pair in corpus(12, 0.15, UTTERANCES, rng)] * 5
    other = [errors(*pair) for pair in corpus(12, 0.15, UTTERANCES, rng)] * 5
    seconds = interleave(
        {"confidence": lambda: confidence(counted, seed=0), "compare": lambda: compare(counted, other, seed=0)},
        options.rounds,
    )
    parts = [
        "# Scoring",
        f"CPU µs an utterance, and times ours; medians of {options.rounds} rounds in turns. All count substitutions, "
        "deletions and insertions from two texts. The goals, for 12 words of which 15 % are wrong, an utterance a "
        f"call: jiwer at least {GOALS['word']} times ours for words, {GOALS['character']} time for characters.",
        utterances,
        "CPU ms of a long transcript, and times ours:",
        table(["", "asr-decoders", *PEERS], long),
        "1000 resamples of 5000 utterances: an interval of the rate in "
        f"{1e3 * seconds['confidence']:.0f} ms, of the difference of two systems in {1e3 * seconds['compare']:.0f} ms.",
        made(),
    ]
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
