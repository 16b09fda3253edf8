"""Slow truth to test decoders against, data to test them with, and checks for anyone's own decoders.

Everything here is written for the reader, not for speed, and shares no code with the decoders.
"""

from asr_decoders.testing.brute import every_labelling, every_sequence, full_expansion, table_step
from asr_decoders.testing.conformance import check_decoder, check_language_model
from asr_decoders.testing.posteriors import random_posteriors
from asr_decoders.testing.weights import Weights, hotword_weights, model_weights, token_weights, word_weights

__all__ = [
    "Weights",
    "check_decoder",
    "check_language_model",
    "every_labelling",
    "every_sequence",
    "full_expansion",
    "hotword_weights",
    "model_weights",
    "random_posteriors",
    "table_step",
    "token_weights",
    "word_weights",
]
