"""Hotwords: how many boosted words that the language model does not know are found, and what it costs the others."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import interleave  # first: it sets the limits on threads
import numpy as np
from lm import FUSION, LM_WEIGHT, UNKNOWN, WORD_BONUS, Trigram, rate, trigram
from peers import PRUNING, ours, spaced
from posteriors import FRAMES, WHAT, Model, Utterance, corpus, models, source

UTTERANCES = 150  # with a word that the model does not know, and as many without
AROUND = 8  # words before and after it
OTHERS = 100  # hotwords that nobody says
BEAM = 100
WEIGHTS = (0.0, 3.0, 5.0, 10.0)
WEIGHT = 5.0  # of which the goals are
TIMED = 50  # utterances
HARD = 0.25  # of the letters of such a word: models hear names badly
MODULES = ("pyctcdecode", "kenlm", "sentencepiece")
GOALS = {"recall": 50, "WER": -0.1, "time": -1.3}  # points, points, times


def unknown_words(trigram: Trigram) -> list[str]:
    """Words of the held-out lines that the model does not know, the more frequent first."""
    count = Counter(word for line in corpus()[1] for word in line.split() if len(word) > 3 and "'" not in word)
    words = [word for word, _ in count.most_common()]
    unknown = trigram.ngram.word_ids(words) == 0
    return [word for word, missing in zip(words, unknown, strict=True) if missing]


def excerpts(known: bool, trigram: Trigram, unknown: Sequence[str], rng) -> list[list[str]]:
    """Pieces of different held-out lines: of words that are known, or around one of the unknown."""
    found = []
    for line in rng.permutation(corpus()[1]).tolist():
        words = line.split()
        places = [i for i, word in enumerate(words) if word in unknown]
        if known and (trigram.ngram.word_ids(words) > 0).all():
            found.append(words[: 2 * AROUND])
        elif not known and places:
            found.append(words[max(0, places[0] - AROUND) : places[0] + AROUND])
    return found[:UTTERANCES]


def utterance(model: Model, words: Sequence[str], boosted: set[str], rng) -> Utterance:
    """Said at the usual rate; the words that are boosted are heard badly."""
    hard, tokens = [], []
    for i, word in enumerate(words):
        spelt = model.encode(f" {word}" if i and model.kind == "characters" else word)
        chance = HARD if word in boosted else 0.05 if model.kind == "characters" else 0.12
        hard += (len(tokens) + np.flatnonzero(rng.random(len(spelt)) < chance)).tolist()
        tokens += spelt
    num_frames = int(len(tokens) / FRAMES[model.kind][2]) + 5
    return Utterance(" ".join(words), tuple(tokens), model.log_probs(tokens, num_frames, rng, hard=set(hard)))


def pyctcdecode(model: Model, trigram: Trigram, phrases: Sequence[str], weight: float):
    """Its weight is for every letter; its own default is 10."""
    from pyctcdecode import build_ctcdecoder

    words = [word for word in trigram.ngram.vocabulary if not word.startswith("<")]
    options = {"alpha": LM_WEIGHT, "beta": WORD_BONUS, "unk_score_offset": UNKNOWN}
    decoder = build_ctcdecoder(list(model.vocabulary.pieces), trigram.file, words, **options)
    hotwords = list(phrases) if weight else None
    return lambda log_probs: decoder.decode(log_probs, beam_width=BEAM, hotwords=hotwords, hotword_weight=weight)


def recall(texts: Sequence[str], utterances: Sequence[Utterance], phrases: Sequence[str]) -> float:
    """The part of the hotwords that were said which are found."""
    said = found = 0
    for text, utterance in zip(texts, utterances, strict=True):
        wanted = Counter(word for word in utterance.text.split() if word in phrases)
        said += wanted.total()
        found += (wanted & Counter(text.split())).total()
    return found / said


def decoders(model: Model, trigram: Trigram, phrases: Sequence[str]):
    """With a model of words, without one, and pyctcdecode."""
    fused = {"lm": trigram.ngram, **FUSION}
    made = {}
    for what, options in (("trigram", fused), ("no model", {})):
        for weight in WEIGHTS if options else (0.0, WEIGHT):
            hotwords = dict.fromkeys(phrases, weight) if weight else None
            make = ours(backend="native", align=False, hotwords=hotwords, **options, **PRUNING)
            made[f"{what}, weight {weight:g}"] = make(model.vocabulary, BEAM)
    if interleave.present("pyctcdecode kenlm"):
        for weight in (0.0, 10.0):
            made[f"pyctcdecode, trigram, weight {weight:g}"] = pyctcdecode(model, trigram, phrases, weight)
    return made


def measure(model: Model, trigram: Trigram, rounds: int):
    """The rows of a table, and what the goals are about."""
    rng = np.random.default_rng(0)
    unknown = unknown_words(trigram)
    with_hotwords = excerpts(False, trigram, set(unknown), rng)
    boosted = {word for words in with_hotwords for word in words if word in unknown}
    others = [word for word in unknown if word not in boosted][:OTHERS]
    phrases = sorted(boosted) + others
    sets = [
        [utterance(model, words, boosted, rng) for words in chosen]
        for chosen in (with_hotwords, excerpts(True, trigram, unknown, rng))
    ]
    made = decoders(model, trigram, phrases)
    found, calls = {}, {}
    for name, decode in made.items():
        with_, without = ([spaced(decode(each.log_probs)) for each in chosen] for chosen in sets)
        wrong = sum(word in phrases for text in without for word in text.split())
        found[name] = (recall(with_, sets[0], phrases), rate(with_, sets[0]), rate(without, sets[1]), wrong)
        calls[name] = lambda decode=decode: [decode(each.log_probs) for each in sets[1][:TIMED]]
    seconds = interleave.interleave(calls, rounds)
    rows = []
    for name, (recalled, wer, other_wer, wrong) in found.items():
        took = f"{1000 * seconds[name] / TIMED:.3g}"
        rows.append([name, f"{recalled:.1%}", f"{wer:.1%}", f"{other_wer:.2%}", wrong, took])
    before, after = (found[f"trigram, weight {weight:g}"] for weight in (0, WEIGHT))
    gain = 100 * (after[0] - before[0])
    loss = 100 * (after[2] - before[2])
    times = seconds[f"trigram, weight {WEIGHT:g}"] / seconds["trigram, weight 0"]
    goals = [
        (f"{model.kind}: recall of hotwords more than without, points", gain, GOALS["recall"]),
        (f"{model.kind}: WER of utterances without any more than without, points", -loss, GOALS["WER"]),
        (f"{model.kind}: times the CPU of the search without", -times, GOALS["time"]),
    ]
    what = f"{len(sets[0])} utterances with hotwords, {len(boosted)} words, and {len(others)} others that nobody says."
    return rows, goals, what


def main() -> None:
    options = interleave.arguments(__doc__, rounds=3)
    parts = [
        f"Hotwords are words that a trigram of {source()} does not know. They are said in one half of the utterances "
        f"({HARD:.0%} of their letters hard to hear), not in the other. Beam {BEAM}, native, pruned as pyctcdecode "
        f"prunes; the weights of the trigram are those of `lm.py`. Goals are of weight {WEIGHT:g}, in nats a word."
    ]
    header = ["decoder", "recall", "WER with hotwords", "WER without", "found where not said", "ms, without"]
    goals = []
    with tempfile.TemporaryDirectory() as folder:
        model_of_words = trigram(Path(folder))
        for kind, model in models().items():
            rows, reached, what = measure(model, model_of_words, options.rounds)
            parts += [f"## {WHAT[kind]}", what, interleave.table(header, rows)]
            goals += reached
    parts += ["## Goals", interleave.goals(goals)]
    interleave.report(__file__, "Hotwords", parts, MODULES, options.output)


if __name__ == "__main__":
    main()
