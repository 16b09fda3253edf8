"""What several subcommands share."""

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr_train.recognizer import Recognizer


def searching(recognizer: "Recognizer", beam_size: int | None) -> "Recognizer":
    """The recogniser with another beam size, if one is asked for."""
    if beam_size is None:
        return recognizer
    return replace(recognizer, decode=replace(recognizer.decode, beam_size=beam_size))
