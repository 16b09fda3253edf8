"""The libraries that decoders are compared with: (log_probs of a model) -> a function of them that gives the text.

What a library wants in another form (probabilities, blank last, a tensor) is brought into it before the clock
starts: `Peer.prepare`. Each has the pruning that it comes with, or none where `pruned` is False.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from asr_decoders import CtcBeam, Vocabulary

logging.getLogger("pyctcdecode").setLevel(logging.ERROR)  # it has much to say about alphabets
Decode = Callable[[Any], str]


class Peer(NamedTuple):
    """prepare: log-probabilities (T, V) to what `make(vocabulary, beam_size)` decodes.

    most: the greatest frames * V * beam that it does in bearable time or memory.
    same: whether it makes the same search as ours without pruning, and so must find the same text.
    """

    needs: str
    make: Callable[[Vocabulary, int], Decode]
    prepare: Callable[[np.ndarray], Any] = np.ascontiguousarray
    most: float = 1e8
    same: bool = False


def ours(**options) -> Callable[[Vocabulary, int], Decode]:
    def make(vocabulary: Vocabulary, beam_size: int) -> Decode:
        decoder = CtcBeam(beam_size=beam_size, vocabulary=vocabulary, **options)
        return lambda log_probs: decoder(log_probs)[0].text

    return make


def tensorflow_logits(log_probs: np.ndarray):
    """(T, 1, V), with the blank last."""
    import tensorflow as tf

    return tf.constant(np.roll(log_probs, -1, axis=1)[:, None])


def tensorflow(vocabulary: Vocabulary, beam_size: int) -> Decode:
    import tensorflow as tf

    def decode(logits) -> str:
        (best,), _ = tf.nn.ctc_beam_search_decoder(logits, [len(logits)], beam_width=beam_size, top_paths=1)
        return vocabulary.text((best.values.numpy() + 1).tolist())

    return decode


def fast_ctc_decode(*, pruned: bool) -> Callable[[Vocabulary, int], Decode]:
    def make(vocabulary: Vocabulary, beam_size: int) -> Decode:
        import fast_ctc_decode

        alphabet = ["_", *vocabulary.pieces[1:]]  # the blank must have a name, and is not written
        cut = 9e-4 if pruned else 0.0  # it must be less than 1 / V

        def decode(probs: np.ndarray) -> str:
            text, _ = fast_ctc_decode.beam_search(probs, alphabet, beam_size=beam_size, beam_cut_threshold=cut)
            return spaced(text)

        return decode

    return make


def flashlight(*, pruned: bool) -> Callable[[Vocabulary, int], Decode]:
    """Without a lexicon or a language model, paths that end in the same text summed (log_add)."""

    def make(vocabulary: Vocabulary, beam_size: int) -> Decode:
        from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM

        size = len(vocabulary)
        options = LexiconFreeDecoderOptions(
            beam_size=beam_size,
            beam_size_token=40 if pruned and size > 40 else size,
            beam_threshold=25.0 if pruned else 1e9,
            lm_weight=0.0,
            sil_score=0.0,
            log_add=True,
            criterion_type=CriterionType.CTC,
        )
        decoder = LexiconFreeDecoder(options, ZeroLM(), 0, 0, [])  # silence is the blank

        def decode(log_probs: np.ndarray) -> str:
            best = decoder.decode(log_probs.ctypes.data, *log_probs.shape)[0]
            path = np.array(best.tokens)
            tokens = path[np.diff(path, prepend=-1) != 0]
            return vocabulary.text(tokens[tokens > 0].tolist())

        return decode

    return make


def pyctcdecode(*, pruned: bool) -> Callable[[Vocabulary, int], Decode]:
    def make(vocabulary: Vocabulary, beam_size: int) -> Decode:
        from pyctcdecode import build_ctcdecoder

        decoder = build_ctcdecoder(list(vocabulary.pieces))
        options = {} if pruned else {"beam_prune_logp": -1e9, "token_min_logp": -1e9}
        return lambda log_probs: decoder.decode(log_probs, beam_width=beam_size, **options)

    return make


def spaced(text: str) -> str:
    """Words with one space between."""
    return " ".join(text.replace("\u2581", " ").split())


PRUNING = {"token_min_log_prob": -5.0, "beam_threshold": 10.0}  # pyctcdecode's own
UNPRUNED = {
    "native": Peer("asr_decoders", ours(backend="native", align=False)),
    "native, with time stamps": Peer("asr_decoders", ours(backend="native")),
    "numpy": Peer("asr_decoders", ours(backend="numpy", align=False)),
    "tf.nn": Peer("tensorflow", tensorflow, tensorflow_logits, most=5e7, same=True),
    "fast-ctc-decode": Peer("fast_ctc_decode", fast_ctc_decode(pruned=False), np.exp, most=3e6, same=True),
    "flashlight-text": Peer("flashlight", flashlight(pruned=False), most=5e7),
    "pyctcdecode": Peer("pyctcdecode", pyctcdecode(pruned=False), most=1e6),
}
PRUNED = {
    "native": Peer("asr_decoders", ours(backend="native", align=False)),
    "native, pruned as pyctcdecode": Peer("asr_decoders", ours(backend="native", align=False, **PRUNING)),
    "numpy": Peer("asr_decoders", ours(backend="numpy", align=False)),
    "fast-ctc-decode": Peer("fast_ctc_decode", fast_ctc_decode(pruned=True), np.exp),
    "flashlight-text": Peer("flashlight", flashlight(pruned=True)),
    "pyctcdecode": Peer("pyctcdecode", pyctcdecode(pruned=True)),
}
