import dataclasses

import numpy as np
import pytest

from asr_decoders import CtcBeam, Errors, Vocabulary, errors
from asr_decoders.ngram import estimate
from asr_decoders.tuning import Trial, tune

PIECES = ["<blank>", " ", *"abcdeno"]
TEXTS = ["a bee", "one bean", "a bad bead", "no deed", "bad bean", "a deed", "one bee", "no bead"] * 3
REFERENCES = ["one bad bee", "a bead", "no bean"]


def posteriors(text, seed):
    """Three frames a character, noisy enough that a language model helps."""
    rng = np.random.default_rng(seed)
    frames = []
    for character in text:
        frames += [PIECES.index(character), 0]
    logits = rng.normal(0, 1.2, (len(frames), len(PIECES)))
    logits[np.arange(len(frames)), frames] += 2.5
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def decoder():
    lm = estimate(TEXTS, order=2, discount_fallback=(0.5, 1.0, 1.5))
    return CtcBeam(vocabulary=Vocabulary(PIECES), beam_size=8, n_best=2, lm=lm)


def test_the_best_of_all_pairs(decoder):
    frames = [posteriors(text, seed) for seed, text in enumerate(REFERENCES)]
    weights, bonuses = (0.0, 0.5, 1.5), (-1.0, 1.0)
    tuning = tune(decoder, frames, REFERENCES, lm_weights=weights, word_bonuses=bonuses)
    expected = []
    for weight in weights:
        for bonus in bonuses:
            one = dataclasses.replace(decoder, lm_weight=weight, word_bonus=bonus)
            counts = [errors(text, one(array)[0].text) for text, array in zip(REFERENCES, frames, strict=True)]
            expected.append(Trial(weight, bonus, sum(counts, Errors())))
    assert tuning.trials == tuple(expected)
    totals = [trial.errors.total for trial in expected]
    assert len(set(totals)) > 1
    assert tuning.best == expected[totals.index(min(totals))]
    assert tuning.decoder == dataclasses.replace(
        decoder, lm_weight=tuning.best.lm_weight, word_bonus=tuning.best.word_bonus
    )
    assert (
        tune(decoder, frames, REFERENCES, lm_weights=weights, word_bonuses=bonuses, threads=2).trials == tuning.trials
    )


def test_characters(decoder):
    frames = [posteriors(text, seed) for seed, text in enumerate(REFERENCES)]
    tuning = tune(decoder, frames, REFERENCES, lm_weights=[0.5], word_bonuses=[0.0], unit="character")
    assert tuning.best.errors.reference == sum(map(len, REFERENCES))


def test_the_table(decoder):
    tuning = tune(decoder, [posteriors("a bee", 0)], ["a bee"], lm_weights=[0.5, 1], word_bonuses=[0.0, 2.5])
    table = str(tuning).splitlines()
    assert table[0].split() == ["lm_weight", "\\", "word_bonus", "0", "2.5"]
    assert [line.split()[0] for line in table[1:]] == ["0.5", "1"]
    assert str(tuning).count("*") == 1 and "%*" in table[1] + table[2]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"lm": None}, {}, "got one without a language model .lm."),
        ({}, {"references": ["a"]}, "got 1 references and 3 posteriors"),
        ({}, {"references": [], "posteriors": []}, "at least one, got 0 references and 0 posteriors"),
        ({}, {"lm_weights": []}, r"weights and bonuses to try expected, got \[\] and \[0.0\]"),
        ({}, {"word_bonuses": []}, r"weights and bonuses to try expected, got \[1.0\] and \[\]"),
        ({}, {"lm_weights": [1.0, -1.0]}, "lm_weight must be"),
        ({}, {"unit": "phone"}, "unit must be one of word, character, got 'phone'"),
    ],
)
def test_what_cannot_be_tuned(decoder, change, options, message):
    given = {"posteriors": [posteriors(text, 0) for text in REFERENCES], "references": REFERENCES}
    given |= {"lm_weights": [1.0], "word_bonuses": [0.0]} | options
    with pytest.raises(ValueError, match=message) as error:
        tune(dataclasses.replace(decoder, **change), given.pop("posteriors"), given.pop("references"), **given)
    assert "\n" not in str(error.value)
