"""DeepSpeech2 as it hears: features in chunks of any size, logits as soon as they are known.

    stream = StreamingDeepSpeech2(model)
    state = stream.start()
    for chunk in chunks:                          # (B, t, F)
        state, logits = stream.step(state, chunk)   # (B, t', V), t' >= 0
    logits = stream.finish(state)

All logits in a row are those of the whole utterance. The state is bounded: what the convolutions and the lookahead
still need, and the recurrent state.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from asr_models.convolution import ConvolutionBlock
from asr_models.deepspeech2 import DeepSpeech2
from asr_models.lengths import as_features, frame_mask, strided


class Window(NamedTuple):
    """What a layer that looks at several frames still needs of them."""

    waiting: tf.Tensor
    """`(B, t, ...)`: frames from the start of the next window on."""
    skip: tf.Tensor
    """Frames to drop before the next window starts, where a stride is above its kernel."""
    taken: tf.Tensor
    """Frames that came in so far."""
    given: tf.Tensor
    """Frames that went out so far."""


class StreamState(NamedTuple):
    """Tensors only; its size does not grow with the audio."""

    convolutions: tuple[Window, ...]
    pools: tuple[Window, ...]
    recurrent: tuple[tuple[tf.Tensor, ...], ...]
    lookahead: Window


class StreamingDeepSpeech2:
    """A DeepSpeech2 of one direction as a stream of B utterances side by side, chunk for chunk.

    Raises:
        ValueError: the model listens in both directions.
    """

    def __init__(self, model: DeepSpeech2) -> None:
        if model.config.bidirectional:
            raise ValueError(
                "a bidirectional DeepSpeech2 needs the whole utterance: stream one built with bidirectional=False"
            )
        self.model = model
        channels = [model.channels] if model.channels > 1 else []
        state, chunk = _any_batch(self.start()), tf.TensorSpec([None, None, model.features, *channels])
        # Traced once, for any number of utterances and chunks of any size.
        self._step = tf.function(self._push, input_signature=[state, chunk], autograph=False)
        self._finish = tf.function(self._flush, input_signature=[state], autograph=False)

    def start(self, batch: int = 1) -> StreamState:
        """The state before the first frame of `batch` utterances."""
        convolutions, pools = [], []
        frequencies, channels = self.model.features, self.model.channels
        for block in self.model.convolutions.blocks:
            before = (block.config.kernel[0] - 1) // 2
            convolutions.append(_window(tf.zeros([batch, before, frequencies, channels])))
            wide, channels = int(strided(frequencies, block.config.stride[1])), block.config.channels
            pools.append(_window(tf.zeros([batch, 0, wide, channels])))
            frequencies = block.frequencies
        recurrent = tuple(layer.start(batch) for layer in self.model.recurrent)
        lookahead = _window(tf.zeros([batch, 0, self.model.recurrent[-1].width]))
        return StreamState(tuple(convolutions), tuple(pools), recurrent, lookahead)

    def step(self, state: StreamState, features: Any) -> tuple[StreamState, tf.Tensor]:
        """`features` `(B, t, F)`, t at least 0 -> the new state and the logits `(B, t', V)` that are now known.

        Raises:
            ValueError: features of another shape.
        """
        model = self.model
        values = as_features("the stream", features, width=model.features, channels=model.channels)
        return self._step(state, values)

    def finish(self, state: StreamState) -> tf.Tensor:
        """The logits `(B, t', V)` of what was still waiting."""
        return self._finish(state)

    def _push(self, state: StreamState, features: tf.Tensor) -> tuple[StreamState, tf.Tensor]:
        values = features[..., None] if self.model.channels == 1 else features
        return self._through(state, values, last=False)

    def _flush(self, state: StreamState) -> tf.Tensor:
        first = state.convolutions[0].waiting
        return self._through(state, first[:, :0], last=True)[1]

    def _through(self, state: StreamState, values: tf.Tensor, *, last: bool) -> tuple[StreamState, tf.Tensor]:
        """`(B, t, F, C)` through the whole network."""
        model, convolutions, pools, recurrent = self.model, [], [], []
        for n, block in enumerate(model.convolutions.blocks):
            window, values = _convolve(block, state.convolutions[n], values, last)
            convolutions.append(window)
            window, values = _pool(block, state.pools[n], values, last)
            pools.append(window)
        values = model.convolutions.flat(values)
        # A loop wants a frame to run over: where none came in, one that is masked.
        count = tf.shape(values)[1]
        values = tf.pad(values, [[0, 0], [0, tf.maximum(1 - count, 0)], [0, 0]])
        mask = frame_mask(tf.fill(tf.shape(values)[:1], count), tf.shape(values)[1])
        for norm, layer, old in zip(model.norms, model.recurrent, state.recurrent, strict=True):
            values = values if norm is None else norm(values, mask)
            values, new = layer(values, mask, initial={"forward": old}, return_state=True, training=False)
            values = tf.cast(values, tf.float32)
            recurrent.append(new["forward"])
        values = values[:, :count]
        lookahead = state.lookahead
        if model.lookahead is not None:
            reach = model.lookahead.frames
            lookahead, windows, count = _windows(lookahead, values, reach + 1, 1, 0, last)
            values = model.lookahead(windows)[:, :count]
        if model.output_norm is not None:
            values = model.output_norm(values, tf.ones(tf.shape(values)[:2]))
        state = StreamState(tuple(convolutions), tuple(pools), tuple(recurrent), lookahead)
        return state, model.output_layer(values)


def _any_batch(state: StreamState) -> StreamState:
    """Specs of a state of any number of utterances, with any number of frames waiting."""

    def spec(part: tf.Tensor) -> tf.TensorSpec:
        frames = [None] if part.shape.rank > 2 else []
        return tf.TensorSpec([None, *frames, *part.shape[1 + len(frames) :]] if part.shape.rank else [], part.dtype)

    return tf.nest.map_structure(spec, state)


def _window(waiting: tf.Tensor) -> Window:
    zero = tf.constant(0)
    return Window(waiting, zero, zero, zero)


def _convolve(block: ConvolutionBlock, window: Window, values: tf.Tensor, last: bool) -> tuple[Window, tf.Tensor]:
    kernel, stride = block.config.kernel[0], block.config.stride[0]
    window, windows, count = _windows(window, values, kernel, stride, (kernel - 1) // 2, last)
    out = block.convolve(windows, (0, 0))[:, :count]
    return window, block.activate(out, tf.ones(tf.shape(out)[:2]))


def _pool(block: ConvolutionBlock, window: Window, values: tf.Tensor, last: bool) -> tuple[Window, tf.Tensor]:
    size = block.config.pool[0]
    if block.config.pool == (1, 1):
        return window, values
    window, windows, count = _windows(window, values, size, size, 0, last, padding=values.dtype.min)
    return window, block.pool(windows, 0)[:, :count]


def _windows(
    window: Window, values: tf.Tensor, kernel: int, stride: int, before: int, last: bool, *, padding: float = 0.0
) -> tuple[Window, tf.Tensor, tf.Tensor]:
    """New frames `(B, t, ...)` behind the waiting ones: frames for a VALID layer, of whose outputs `count` are real.

    At the last there are `strided(taken)` outputs in all, for which `padding` stands behind the audio. One window is
    always given, for a layer to have something to run over.
    """
    skipped = tf.minimum(window.skip, tf.shape(values)[1])
    waiting = tf.concat([window.waiting, values[:, skipped:]], 1)
    taken, have = window.taken + tf.shape(values)[1], tf.shape(waiting)[1]
    count = strided(taken, stride) - window.given if last else tf.maximum((have - kernel) // stride + 1, 0)
    needed = tf.maximum(count - 1, 0) * stride + kernel
    after = [[0, 0], [0, tf.maximum(needed - have, 0)], *[[0, 0]] * (values.shape.rank - 2)]
    windows = tf.pad(waiting, after, constant_values=padding)[:, :needed]
    dropped = tf.minimum(count * stride, have)
    skip = window.skip - skipped + count * stride - dropped
    return Window(waiting[:, dropped:], skip, taken, window.given + count), windows, count
