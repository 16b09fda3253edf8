"""What a model is made of, as frozen dataclasses of plain values.

The number of features and of vocabulary entries are facts of the data, not of the design: they are given to the
model beside its configuration, so that one configuration serves any front end and any tokenizer. The blank is an
argument of the loss and of the decoder.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

CELLS = ("lstm", "gru", "rnn")
NORMS = ("batch", "layer", "none")
ACTIVATIONS = ("clipped-relu", "relu", "none")
MERGES = ("sum", "concat")
ATTENTIONS = ("location", "dot", "additive", "multi-head")
SAMPLINGS = ("token", "utterance", "batch")


def _check(owner: object, name: str, *, at_least: float, below: float = float("inf")) -> None:
    value = getattr(owner, name)
    if not at_least <= value < below:
        bound = f"at least {at_least:g}" + (f" and below {below:g}" if below < float("inf") else "")
        raise ValueError(f"{type(owner).__name__}.{name} is {value!r}, expected {bound}")


def _one_of(owner: object, name: str, names: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    if value not in names:
        raise ValueError(f"{type(owner).__name__}.{name} is {value!r}, expected one of {', '.join(names)}")


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One two-dimensional convolution over (time, frequency), normalisation, activation, max pooling, dropout.

    Without normalisation it has a bias. `clipped-relu` is `min(max(x, 0), 20)`.
    """

    channels: int = 32
    kernel: tuple[int, int] = (11, 41)
    stride: tuple[int, int] = (2, 2)
    norm: str = "batch"
    activation: str = "clipped-relu"
    pool: tuple[int, int] = (1, 1)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _check(self, "channels", at_least=1)
        for name in ("kernel", "stride", "pool"):
            # YAML and JSON have lists only.
            object.__setattr__(self, name, tuple(getattr(self, name)))
            pair = getattr(self, name)
            if len(pair) != 2 or min(pair) < 1:
                raise ValueError(f"Convolution.{name} is {pair}, expected two positive numbers (time, frequency)")
        _one_of(self, "norm", NORMS)
        _one_of(self, "activation", ACTIVATIONS)
        _check(self, "dropout", at_least=0, below=1)

    @property
    def time_stride(self) -> int:
        """Input frames per output frame."""
        return self.stride[0] * self.pool[0]


def _time_stride(convolutions: tuple[Convolution, ...]) -> int:
    return math.prod(convolution.time_stride for convolution in convolutions)


def reach(convolutions: tuple[Convolution, ...]) -> tuple[int, int]:
    """Feature frames before and after frame `t * stride` that output t of the convolutions looks at."""
    before, after, stride = 0, 0, 1
    for convolution in convolutions:
        left = (convolution.kernel[0] - 1) // 2
        before, after = before + left * stride, after + (convolution.kernel[0] - 1 - left) * stride
        stride *= convolution.stride[0]
        after += (convolution.pool[0] - 1) * stride
        stride *= convolution.pool[0]
    return before, after


@dataclass(frozen=True, kw_only=True)
class DeepSpeech2Config:
    """DeepSpeech2 (Amodei et al., 2015, arXiv:1512.02595): convolutions, recurrent layers, CTC.

    The defaults are the two-convolution network of the paper's table 5 with narrower recurrent layers. With one
    direction (`bidirectional=False`) it hears as it goes (`streaming.py`), with `lookahead` output frames of future:
    the row convolution of Wang et al. (2016).
    """

    kind: ClassVar[str] = "deepspeech2"

    convolutions: tuple[Convolution, ...] = (
        Convolution(channels=32, kernel=(11, 41), stride=(2, 2)),
        Convolution(channels=32, kernel=(11, 21), stride=(1, 2)),
    )
    cell: str = "lstm"
    recurrent_layers: int = 5
    recurrent_units: int = 512
    bidirectional: bool = True
    merge: str = "sum"
    """How two directions meet: added, or side by side."""
    norm: str = "batch"
    """Before every recurrent layer but the first, and before the output layer."""
    lookahead: int = 0
    dropout: float = 0.1
    """After each recurrent layer."""
    recurrent_dropout: float = 0.0
    """Of the state that goes from frame to frame, one mask an utterance (Gal and Ghahramani, 2016)."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        if not self.convolutions:
            raise ValueError("DeepSpeech2Config.convolutions is empty, expected at least one Convolution")
        _one_of(self, "cell", CELLS)
        _one_of(self, "merge", MERGES)
        _one_of(self, "norm", NORMS)
        _check(self, "recurrent_layers", at_least=1)
        _check(self, "recurrent_units", at_least=1)
        _check(self, "lookahead", at_least=0)
        _check(self, "dropout", at_least=0, below=1)
        _check(self, "recurrent_dropout", at_least=0, below=1)
        if self.lookahead and self.bidirectional:
            raise ValueError(
                f"DeepSpeech2Config.lookahead is {self.lookahead}, expected 0 with two directions, which hear all of "
                "the future anyway; set bidirectional to false"
            )

    @property
    def stride(self) -> int:
        """Feature frames per output frame."""
        return _time_stride(self.convolutions)

    @property
    def latency(self) -> int:
        """Feature frames that must come in after frame `t * stride` before output t of one direction is known."""
        return reach(self.convolutions)[1] + self.lookahead * self.stride


@dataclass(frozen=True, kw_only=True)
class LasConfig:
    """Listen, Attend and Spell (Chan et al., 2015, arXiv:1508.01211).

    The listener halves the number of frames before every layer but the first, by joining neighbouring pairs (unless
    `pyramid` is off); it may have convolutions in front, as DeepSpeech2 has (Zhang et al., 2016, arXiv:1610.03022).
    `ctc_head` puts CTC logits on the listener, to be trained jointly (Kim et al., 2017, arXiv:1609.06773): they make
    the listener align from the first steps on.
    """

    kind: ClassVar[str] = "las"

    convolutions: tuple[Convolution, ...] = ()
    cell: str = "lstm"
    listener_layers: int = 4
    listener_units: int = 256
    pyramid: bool = True
    projection: bool = False
    """Each listener layer is followed by a projection of its own width, masked batch norm and ReLU."""
    speller_layers: int = 1
    speller_units: int = 512
    embedding_units: int = 128
    attention: str = "location"
    attention_units: int = 128
    attention_heads: int = 4
    """Of multi-head attention."""
    location_channels: int = 10
    location_width: int = 31
    attend_first: bool = False
    """Attend with the last state, before the cells (Bahdanau et al., 2014), instead of with the new one, after."""
    input_feeding: bool = True
    """The cells read the context too, beside the token."""
    output_context: bool = True
    """The output layer reads the context too, beside the state."""
    tied_output: bool = False
    """The output layer is the transposed embedding, behind a projection (Press and Wolf, 2017, arXiv:1608.05859)."""
    start_from_memory: bool = False
    """The first state is a projection of the memory's first and last frame, instead of zero."""
    dropout: float = 0.1
    """After each listener layer and before the output layer."""
    embedding_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    """Of the state that a listener layer hands from frame to frame, one mask an utterance."""
    sampling: float = 0.1
    """The share of the speller's inputs that are its own last guess instead of the true token during training
    (scheduled sampling, Bengio et al., 2015); the rate of teacher forcing is one less it."""
    sampling_per: str = "token"
    """What is drawn for: each token, each utterance, or a whole batch."""
    ctc_head: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        for name in (
            "listener_layers",
            "listener_units",
            "speller_layers",
            "speller_units",
            "embedding_units",
            "attention_units",
            "attention_heads",
            "location_channels",
        ):
            _check(self, name, at_least=1)
        if self.location_width < 1 or self.location_width % 2 == 0:
            raise ValueError(f"LasConfig.location_width is {self.location_width}, expected an odd number of frames")
        _one_of(self, "cell", CELLS)
        _one_of(self, "attention", ATTENTIONS)
        _one_of(self, "sampling_per", SAMPLINGS)
        for name in ("dropout", "embedding_dropout", "recurrent_dropout"):
            _check(self, name, at_least=0, below=1)
        if not 0 <= self.sampling <= 1:
            raise ValueError(f"LasConfig.sampling is {self.sampling!r}, expected at least 0 and at most 1")
        if self.attention == "multi-head" and self.attention_units % self.attention_heads:
            raise ValueError(
                f"LasConfig.attention_units is {self.attention_units}, "
                f"expected a multiple of attention_heads = {self.attention_heads}"
            )
        if not (self.input_feeding or self.output_context):
            raise ValueError(
                "LasConfig.input_feeding and output_context are both false: nothing would hear; set one of them"
            )

    @property
    def stride(self) -> int:
        """Feature frames per memory frame."""
        return _time_stride(self.convolutions) * (2 ** (self.listener_layers - 1) if self.pyramid else 1)
