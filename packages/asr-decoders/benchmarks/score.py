"""Counting errors: CPU time in turns with jiwer and rapidfuzz, whichever are installed; all must count the same."""

import random

import interleave  # first: it sets the limits on threads

from asr_decoders import native
from asr_decoders.score import Errors, align, compare, confidence, corpus_errors, errors

UTTERANCES = 5000
CASES = [("word", 11, 0.05), ("word", 11, 0.15), ("word", 35, 0.05), ("word", 35, 0.15)]  # unit, words, wrong
CASES += [("character", 11, 0.15), ("character", 35, 0.15)]
LONG = 11_392  # words of one transcript
AT_LEAST = {"word": 3, "character": 1}  # times our CPU time that jiwer is to take
MODULES = ("jiwer", "rapidfuzz")
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


def by_jiwer(unit):
    import jiwer

    return jiwer.process_words if unit == "word" else jiwer.process_characters


def by_rapidfuzz(pairs, unit):
    from rapidfuzz.distance import Levenshtein

    units = str.split if unit == "word" else str
    found = []
    for reference, hypothesis in pairs:
        tags = [edit.tag for edit in Levenshtein.editops(units(reference), units(hypothesis))]
        found.append((tags.count("replace"), tags.count("delete"), tags.count("insert")))
    return found


def calls_of(pairs, unit):
    """Ways to count: all in one call, or a call an utterance."""
    said, heard = map(list, zip(*pairs, strict=True))
    calls = {
        "ours, one call": lambda: corpus_errors(said, heard, unit=unit),
        "ours, a call each": lambda: [errors(*pair, unit=unit) for pair in pairs],
    }
    if interleave.present("jiwer"):
        process = by_jiwer(unit)
        calls["jiwer, one call"] = lambda: process(said, heard)
        calls["jiwer, a call each"] = lambda: [process(*pair) for pair in pairs]
    if interleave.present("rapidfuzz"):
        calls["rapidfuzz"] = lambda: by_rapidfuzz(pairs, unit)
    return calls


def same(calls):
    """Raises ValueError unless all count the same substitutions, deletions, insertions and correct units."""
    found = calls["ours, one call"]()
    total = sum(found, Errors())
    if calls["ours, a call each"]() != found:
        raise ValueError("one call and many do not count the same")
    if "jiwer, one call" in calls:
        one = calls["jiwer, one call"]()
        theirs = (one.substitutions, one.deletions, one.insertions, one.hits)
        if theirs != (total.substitutions, total.deletions, total.insertions, total.correct):
            raise ValueError(f"jiwer counts {theirs}, not {total}")
        each = [(e.substitutions, e.deletions, e.insertions, e.hits) for e in calls["jiwer, a call each"]()]
        if each != [(e.substitutions, e.deletions, e.insertions, e.correct) for e in found]:
            raise ValueError("jiwer counts other errors in an utterance")
    counts = [(e.substitutions, e.deletions, e.insertions) for e in found]
    if "rapidfuzz" in calls and calls["rapidfuzz"]() != counts:
        raise ValueError("rapidfuzz counts other errors")


WAYS = ["ours, one call", "ours, a call each", "jiwer, one call", "jiwer, a call each", "rapidfuzz"]


def utterances(rounds, rng):
    """The table of µs an utterance, and the goals."""
    rows, goals = [], []
    for unit, words, rate in CASES:
        pairs = corpus(words, rate, UTTERANCES, rng)
        calls = calls_of(pairs, unit)
        same(calls)
        seconds = interleave.interleave(calls, rounds)
        title = f"{words} words, {100 * rate:g} % wrong: {unit}s"
        rows.append([title, *(f"{1e6 * seconds[way] / len(pairs):.2f}" if way in seconds else "" for way in WAYS)])
        for how in ("one call", "a call each"):
            if f"jiwer, {how}" in seconds:
                ratio = seconds[f"jiwer, {how}"] / seconds[f"ours, {how}"]
                goals.append((f"times faster than jiwer, {how}, {title}", ratio, AT_LEAST[unit]))
    return interleave.table(["an utterance of", *WAYS], rows), goals


def transcript(rounds, rng):
    """The table of ms for one long transcript, and the goal."""
    pairs = corpus(LONG, 0.15, 1, rng)
    calls = calls_of(pairs, "word")
    same(calls)
    said, heard = (text.split() for text in pairs[0])
    calls["aligned"] = lambda: align(said, heard)
    seconds = interleave.interleave(calls, rounds)
    ways = ["ours, one call", "aligned", "jiwer, one call", "rapidfuzz"]
    cells = [f"{1e3 * seconds[way]:.1f}" if way in seconds else "" for way in ways]
    goals = []
    if "jiwer, one call" in seconds:
        ratio = seconds["jiwer, one call"] / seconds["ours, one call"]
        goals = [(f"times faster than jiwer, {LONG} words in one", ratio, AT_LEAST["word"])]
    header = ["", "ours", "ours, aligned", "jiwer", "rapidfuzz"]
    return interleave.table(header, [[f"{LONG} words in one, 15 % wrong", *cells]]), goals


def main() -> None:
    options = interleave.arguments(__doc__, rounds=9)
    rng = random.Random(0)
    costs, goals = utterances(options.rounds, rng)
    long, goal = transcript(options.rounds, rng)
    counted = corpus_errors(*zip(*corpus(12, 0.15, UTTERANCES, rng), strict=True))
    other = corpus_errors(*zip(*corpus(12, 0.15, UTTERANCES, rng), strict=True))  # of as many words
    seconds = interleave.interleave(
        {
            "confidence": lambda: confidence(counted, seed=0),
            "compare": lambda: compare(counted, other, seed=0),
        },
        options.rounds,
    )
    parts = [
        f"CPU µs for each of {UTTERANCES} utterances, medians of {options.rounds} rounds in turns, with "
        f"{'the library' if native.available() else 'Python alone'}. All count the same substitutions, deletions, "
        "insertions and correct units, utterance by utterance.",
        costs,
        "CPU ms of a long transcript:",
        long,
        interleave.goals([*goals, *goal]),
        "1000 resamples of 5000 utterances: an interval of the rate in "
        f"{1e3 * seconds['confidence']:.0f} ms, of the difference of two systems in {1e3 * seconds['compare']:.0f} ms.",
    ]
    interleave.report(__file__, "Scoring", parts, MODULES, options.output)


if __name__ == "__main__":
    main()
