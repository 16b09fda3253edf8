"""The size of a model, by arithmetic alone: no TensorFlow is loaded and no weight drawn."""

import math
from collections.abc import Iterable

from asr_models.configs import Convolution, DeepSpeech2Config, LasConfig, reach

# Of the cells: gates, and vectors of H beside the one bias of each gate.
_GATES = {"lstm": (4, 0), "gru": (3, 3), "rnn": (1, 0)}
_STATES = {"lstm": 2, "gru": 1, "rnn": 1}


def parameters(
    config: DeepSpeech2Config | LasConfig, *, features: int, vocab_size: int, channels: int = 1
) -> dict[str, int]:
    """The number of trainable weights of each part of a model.

    Args:
        config: what it is made of.
        features: F, the number of features a frame.
        vocab_size: V.
        channels: C, of features `(B, T, F, C)`.
    """
    if isinstance(config, LasConfig):
        return _las(config, features, vocab_size, channels)
    return _deepspeech2(config, features, vocab_size, channels)


def describe(config: DeepSpeech2Config | LasConfig, *, features: int, vocab_size: int, channels: int = 1) -> str:
    """Parts, parameters, frame rate and receptive field, one a line."""
    counts = parameters(config, features=features, vocab_size=vocab_size, channels=channels)
    before, after = reach(config.convolutions)
    wide = max(map(len, [*counts, "parameters"]))
    lines = [f"{config.kind}: {features} features, {vocab_size} vocabulary entries"]
    lines += [f"  {part:{wide}}  {count:>13,}" for part, count in counts.items()]
    lines += [f"  {'parameters':{wide}}  {sum(counts.values()):>13,}"]
    lines += [f"one output every {config.stride} frames, {100 / config.stride:g} a second at 10 ms a frame"]
    lines += [f"the convolutions look at {before} frames before and {after} after"] if config.convolutions else []
    if isinstance(config, DeepSpeech2Config) and not config.bidirectional:
        lines += [f"one direction: an output waits for {config.latency} frames of future"]
    else:
        lines += ["two directions: every output hears the whole utterance"]
    return "\n".join(lines)


def _norm(kind: str, units: int) -> int:
    return 0 if kind == "none" else 2 * units


def _convolutions(configs: Iterable[Convolution], features: int, channels: int) -> tuple[int, int]:
    """Weights, and the width of a frame behind them."""
    count = 0
    for config in configs:
        count += math.prod(config.kernel) * channels * config.channels
        count += _norm(config.norm, config.channels) or config.channels
        features, channels = -(-features // (config.stride[1])), config.channels
        features = -(-features // config.pool[1])
    return count, features * channels


def _cell(cell: str, inputs: int, units: int) -> int:
    gates, more = _GATES[cell]
    return gates * units * (inputs + units + 1) + more * units


def _dense(inputs: int, units: int, *, bias: bool = True) -> int:
    return inputs * units + bias * units


def _deepspeech2(config: DeepSpeech2Config, features: int, vocab_size: int, channels: int) -> dict[str, int]:
    convolutions, width = _convolutions(config.convolutions, features, channels)
    directions, units, recurrent = 1 + config.bidirectional, config.recurrent_units, 0
    for n in range(config.recurrent_layers):
        recurrent += _norm(config.norm, width) if n else 0
        recurrent += directions * _cell(config.cell, width, units)
        width = 2 * units if config.bidirectional and config.merge == "concat" else units
    counts = {"convolutions": convolutions, "recurrent": recurrent}
    if config.lookahead:
        counts["lookahead"] = (config.lookahead + 1) * width
    return counts | {"output": _norm(config.norm, width) + _dense(width, vocab_size)}


def _las(config: LasConfig, features: int, vocab_size: int, channels: int) -> dict[str, int]:
    convolutions, width = _convolutions(config.convolutions, features, channels)
    listener = convolutions
    for n in range(config.listener_layers):
        inputs = 2 * width if n and config.pyramid else width
        listener += 2 * _cell(config.cell, inputs, config.listener_units)
        width = 2 * config.listener_units
        listener += (width * width + 2 * width) if config.projection else 0
    embedding, units = config.embedding_units, config.speller_units
    speller = _cell(config.cell, embedding + (width if config.input_feeding else 0), units)
    speller += (config.speller_layers - 1) * _cell(config.cell, units, units)
    if config.start_from_memory:
        speller += _dense(2 * width, _STATES[config.cell] * config.speller_layers * units)
    spoken = units + (width if config.output_context else 0)
    output = _dense(spoken, embedding) + vocab_size if config.tied_output else _dense(spoken, vocab_size)
    counts = {
        "listener": listener,
        "embedding": vocab_size * embedding,
        "speller": speller,
        "attention": _attention(config, width),
        "output": output,
    }
    return counts | ({"ctc head": _dense(width, vocab_size)} if config.ctc_head else {})


def _attention(config: LasConfig, memory: int) -> int:
    query, units = config.speller_units, config.attention_units
    both = query * units + memory * units
    location = config.location_channels * (config.location_width + units)
    more = {"dot": 0, "additive": 2 * units, "multi-head": 2 * memory * units, "location": 2 * units + location}
    return both + more[config.attention]
