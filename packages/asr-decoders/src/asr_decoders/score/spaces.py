"""Korean text may be spaced in more than one way, and word errors should not be errors of spacing alone."""

from asr_decoders.native.edits import Costs
from asr_decoders.score.alignment import operations

COSTS = Costs(1, 1, "delete")


def normalize_spaces(reference: str, hypothesis: str) -> str:
    """The hypothesis spaced as the reference, wherever the two have the same character.

    The words of both, letters without spaces, are aligned at equal costs. A character that is matched takes from
    the reference whether a word starts with it; one that is substituted or inserted keeps what it had. So the
    characters are the hypothesis's own, and its character errors without spaces stay what they are; the word
    errors of the result are the "space-normalised" ones (sWER) of the KsponSpeech baselines (Bang et al. 2020,
    in ESPnet), equal to those of ESPnet's `get_space_normalized_hyps.py`, its choice among equal costs included.
    """
    starts = [_starts(text) for text in (reference, hypothesis)]
    left, right = ("".join(text.split()) for text in (reference, hypothesis))
    i, j = 0, 0
    pieces: list[str] = []
    for operation in operations(left, right, COSTS):
        if operation != "delete":
            starts_word = starts[0][i] if operation == "equal" else starts[1][j]
            pieces.append(" " + right[j] if starts_word else right[j])
            j += 1
        i += operation != "insert"
    return "".join(pieces).strip()


def _starts(text: str) -> list[bool]:
    """Of each character but the spaces, whether a word starts with it."""
    return [place == 0 for word in text.split() for place in range(len(word))]
