"""What a model is made of, as frozen dataclasses of plain values.

The number of features and of vocabulary entries are facts of the data, not of the design: they are given to the
model beside its configuration, so that one configuration serves any front end and any tokenizer.
"""

import math
from dataclasses import dataclass

ATTENTIONS = ("location", "dot")


def _check(owner: object, name: str, *, at_least: float, below: float = float("inf")) -> None:
    value = getattr(owner, name)
    if not at_least <= value < below:
        bound = f"at least {at_least:g}" + (f" and below {below:g}" if below < float("inf") else "")
        raise ValueError(f"{type(owner).__name__}.{name} is {value!r}, expected {bound}")


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One two-dimensional convolution over (time, frequency), followed by normalisation and a clipped ReLU."""

    channels: int = 32
    kernel: tuple[int, int] = (11, 41)
    stride: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        # YAML and JSON have lists only.
        object.__setattr__(self, "kernel", tuple(self.kernel))
        object.__setattr__(self, "stride", tuple(self.stride))
        _check(self, "channels", at_least=1)
        for name in ("kernel", "stride"):
            pair = getattr(self, name)
            if len(pair) != 2 or min(pair) < 1:
                raise ValueError(f"Convolution.{name} is {pair}, expected two positive numbers (time, frequency)")


def _time_stride(convolutions: tuple[Convolution, ...]) -> int:
    return math.prod(convolution.stride[0] for convolution in convolutions)


@dataclass(frozen=True, kw_only=True)
class DeepSpeech2Config:
    """DeepSpeech2 (Amodei et al., 2015, arXiv:1512.02595): convolutions, bidirectional LSTM layers, CTC.

    The defaults are the two-convolution network of the paper's table 5 with narrower recurrent layers.
    """

    convolutions: tuple[Convolution, ...] = (
        Convolution(channels=32, kernel=(11, 41), stride=(2, 2)),
        Convolution(channels=32, kernel=(11, 21), stride=(1, 2)),
    )
    recurrent_layers: int = 5
    recurrent_units: int = 512
    dropout: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "convolutions", tuple(self.convolutions))
        if not self.convolutions:
            raise ValueError("DeepSpeech2Config.convolutions is empty, expected at least one Convolution")
        _check(self, "recurrent_layers", at_least=1)
        _check(self, "recurrent_units", at_least=1)
        _check(self, "dropout", at_least=0, below=1)

    @property
    def stride(self) -> int:
        """Feature frames per output frame."""
        return _time_stride(self.convolutions)


@dataclass(frozen=True, kw_only=True)
class LasConfig:
    """Listen, Attend and Spell (Chan et al., 2015, arXiv:1508.01211).

    The listener halves the number of frames before every layer but the first, by joining neighbouring pairs; it may
    have convolutions in front, as DeepSpeech2 has (Zhang et al., 2016, arXiv:1610.03022).
    `sampling` is the share of the speller's inputs that are its own last guess instead of the true token during
    training (scheduled sampling, Bengio et al., 2015). `ctc_head` puts CTC logits on the listener, to be trained
    jointly (Kim et al., 2017, arXiv:1609.06773): they make the listener align from the first steps on.
    """

    convolutions: tuple[Convolution, ...] = ()
    listener_layers: int = 4
    listener_units: int = 256
    speller_layers: int = 1
    speller_units: int = 512
    embedding_units: int = 128
    attention: str = "location"
    attention_units: int = 128
    location_channels: int = 10
    location_width: int = 31
    dropout: float = 0.1
    sampling: float = 0.1
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
            "location_channels",
        ):
            _check(self, name, at_least=1)
        if self.location_width < 1 or self.location_width % 2 == 0:
            raise ValueError(f"LasConfig.location_width is {self.location_width}, expected an odd number of frames")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"LasConfig.attention is {self.attention!r}, expected one of {', '.join(ATTENTIONS)}")
        _check(self, "dropout", at_least=0, below=1)
        _check(self, "sampling", at_least=0, below=1)

    @property
    def stride(self) -> int:
        """Feature frames per memory frame."""
        return _time_stride(self.convolutions) * 2 ** (self.listener_layers - 1)
