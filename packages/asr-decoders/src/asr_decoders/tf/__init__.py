"""The attention searches in a TensorFlow graph; needs the extra `tf`, and is alone here in importing TensorFlow.

    search = in_graph(AttentionBeam(begin=2, end=3, beam_size=8, length_norm="gnmt", length_penalty=0.6))

    @tf.function(jit_compile=True)
    def decode(state):
        return search(step, state, batch=16, longest=100)

    hypotheses = search.hypotheses(decode(state))

The step function is traced once, and the search is one `tf.while_loop` over arrays of fixed shapes: the same in eager
mode, in a `tf.function`, and compiled by XLA, on any device that has float64. Its hypotheses are those of the search in
numpy, with the scores to the rounding of the step function.
"""

from asr_decoders.tf.loop import Found
from asr_decoders.tf.search import GraphSearch, in_graph

__all__ = ["Found", "GraphSearch", "in_graph"]
