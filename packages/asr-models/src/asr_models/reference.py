"""The reference system's model files (cosmoquester/speech-recognition), read as configurations of this package.

    from_reference(yaml.safe_load(open("las_small.yml")))  ->  config, vocab_size, pad, blank

    LAS                   LasConfig                        DeepSpeech2            DeepSpeech2Config
    rnn_type              cell                             num_conv_layers,       convolutions
    encoder_hidden_dim    listener_units                   channels, strides,
    decoder_hidden_dim    speller_units, embedding_units,  kernel_sizes
                          attention_units                  rnn_type               cell
    num_encoder_layers    listener_layers                  num_reccurent_layers   recurrent_layers
    num_decoder_layers    speller_layers                   hidden_dim             recurrent_units
    dropout               dropout, embedding_dropout,      dropout                dropout
                          the convolutions' dropout        recurrent_dropout      recurrent_dropout
    teacher_forcing_rate  1 - sampling, per batch          blank_index            blank (of the loss and the decoder)
    vocab_size, pad_id    vocab_size, pad                  vocab_size, pad_index  vocab_size, pad

What differs by intent: a convolution gives ceil(T / stride) frames, so that all audio is heard; layers begin with
states of their own, not with those of the layer below; the speller's first state is made of the memory's two ends.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from asr_models.configs import Convolution, DeepSpeech2Config, LasConfig

_LAS = (
    "rnn_type",
    "encoder_hidden_dim",
    "decoder_hidden_dim",
    "num_encoder_layers",
    "num_decoder_layers",
    "dropout",
    "teacher_forcing_rate",
    "vocab_size",
    "pad_id",
)
_DEEPSPEECH2 = (
    "num_conv_layers",
    "channels",
    "kernel_sizes",
    "strides",
    "rnn_type",
    "num_reccurent_layers",
    "hidden_dim",
    "dropout",
    "recurrent_dropout",
    "vocab_size",
    "blank_index",
    "pad_index",
)
_NAMES = {"las": _LAS, "ds2": _DEEPSPEECH2, "deepspeech2": _DEEPSPEECH2}


class Reference(NamedTuple):
    """A model file of the reference system: the design, and the facts of its vocabulary."""

    config: DeepSpeech2Config | LasConfig
    vocab_size: int
    pad: int
    blank: int | None
    """Of DeepSpeech2."""


def from_reference(values: Mapping[str, Any]) -> Reference:
    """The mapping that a model file of the reference system holds, as a configuration.

    Raises:
        ValueError: a model name, or a key, that the reference system does not have; or one that is missing.
    """
    name = str(values.get("model_name", "")).lower()
    if name not in _NAMES:
        raise ValueError(f"model_name is {values.get('model_name')!r}, expected one of {', '.join(_NAMES)}")
    names, given = _NAMES[name], {key: value for key, value in values.items() if key != "model_name"}
    for key in sorted(set(names) ^ given.keys()):
        problem = "is missing" if key in names else f"is unknown, expected {', '.join(names)}"
        raise ValueError(f"the key {key!r} of a {name} file {problem}")
    if names is _LAS:
        config: Any = las_of_reference(
            cell=given["rnn_type"],
            listener_units=given["encoder_hidden_dim"],
            speller_units=given["decoder_hidden_dim"],
            listener_layers=given["num_encoder_layers"],
            speller_layers=given["num_decoder_layers"],
            dropout=given["dropout"],
            teacher_forcing=given["teacher_forcing_rate"],
        )
        return Reference(config, given["vocab_size"], given["pad_id"], None)
    config = deepspeech2_of_reference(
        convolutions=_convolutions(given),
        cell=given["rnn_type"],
        layers=given["num_reccurent_layers"],
        units=given["hidden_dim"],
        dropout=given["dropout"],
        recurrent_dropout=given["recurrent_dropout"],
    )
    return Reference(config, given["vocab_size"], given["pad_index"], given["blank_index"])


def _convolutions(given: Mapping[str, Any]) -> list[tuple[int, tuple[int, int], tuple[int, int]]]:
    lists = [given[name] for name in ("channels", "kernel_sizes", "strides")]
    if {len(items) for items in lists} != {given["num_conv_layers"]}:
        raise ValueError(
            f"num_conv_layers is {given['num_conv_layers']}, but channels, kernel_sizes and strides have "
            f"{', '.join(str(len(items)) for items in lists)} entries"
        )
    return [(channels, tuple(kernel), tuple(stride)) for channels, kernel, stride in zip(*lists, strict=True)]


def las_of_reference(
    *,
    listener_units: int,
    listener_layers: int,
    speller_units: int,
    speller_layers: int = 2,
    cell: str = "lstm",
    dropout: float = 0.15,
    teacher_forcing: float = 0.99,
) -> LasConfig:
    """Two convolutions, layers with projections and batch norm, dot attention before the cells."""
    front = Convolution(channels=32, kernel=(3, 3), stride=(2, 2), norm="none", activation="none", dropout=dropout)
    return LasConfig(
        convolutions=(front, front),
        cell=cell,
        pyramid=False,
        projection=True,
        listener_layers=listener_layers,
        listener_units=listener_units,
        speller_layers=speller_layers,
        speller_units=speller_units,
        embedding_units=speller_units,
        attention="dot",
        attention_units=speller_units,
        attend_first=True,
        output_context=False,
        start_from_memory=True,
        dropout=dropout,
        embedding_dropout=dropout,
        sampling=round(1 - teacher_forcing, 12),
        sampling_per="batch",
    )


def deepspeech2_of_reference(
    *,
    convolutions: list[tuple[int, tuple[int, int], tuple[int, int]]],
    cell: str = "gru",
    layers: int = 7,
    units: int = 128,
    dropout: float = 0.1,
    recurrent_dropout: float = 0.0,
) -> DeepSpeech2Config:
    """Bare convolutions (channels, kernel, stride), and layers of two concatenated directions with batch norm."""
    return DeepSpeech2Config(
        convolutions=tuple(
            Convolution(channels=channels, kernel=kernel, stride=stride, norm="none", activation="none")
            for channels, kernel, stride in convolutions
        ),
        cell=cell,
        recurrent_layers=layers,
        recurrent_units=units,
        merge="concat",
        dropout=dropout,
        recurrent_dropout=recurrent_dropout,
    )
