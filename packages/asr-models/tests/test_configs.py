"""Configurations: what they refuse, JSON both ways, the reference system's files, and `describe`."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asr_models import (
    PRESETS,
    Convolution,
    DeepSpeech2,
    DeepSpeech2Config,
    Las,
    LasConfig,
    from_json,
    from_reference,
    to_json,
)
from asr_models.__main__ import main
from asr_models.config_json import from_dict
from asr_models.configs import ATTENTIONS, CELLS
from asr_models.describe import parameters

FRONT = Convolution(channels=3, kernel=(4, 3), stride=(3, 1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LasConfig(attention="dott"), "LasConfig.attention is 'dott', expected one of location, dot"),
        (lambda: LasConfig(dropout=1.0), "LasConfig.dropout is 1.0, expected at least 0 and below 1"),
        (lambda: LasConfig(sampling=1.1), "LasConfig.sampling is 1.1, expected at least 0 and at most 1"),
        (lambda: LasConfig(location_width=4), "expected an odd number"),
        (lambda: LasConfig(cell="lsm"), "LasConfig.cell is 'lsm', expected one of lstm, gru, rnn"),
        (lambda: LasConfig(attention="multi-head", attention_heads=3), "a multiple of attention_heads = 3"),
        (lambda: LasConfig(input_feeding=False, output_context=False), "nothing would hear"),
        (lambda: DeepSpeech2Config(convolutions=()), "convolutions is empty"),
        (lambda: DeepSpeech2Config(recurrent_layers=0), "recurrent_layers is 0, expected at least 1"),
        (lambda: DeepSpeech2Config(lookahead=2), "lookahead is 2, expected 0 with two directions"),
        (lambda: DeepSpeech2Config(norm="group"), "norm is 'group', expected one of batch, layer, none"),
        (lambda: Convolution(stride=(0, 1)), r"Convolution.stride is \(0, 1\)"),
        (lambda: Convolution(activation="gelu"), "activation is 'gelu', expected one of clipped-relu, relu, none"),
    ],
)
def test_impossible_configurations_are_refused(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize("name", PRESETS)
def test_json_both_ways(name: str) -> None:
    assert from_json(to_json(PRESETS[name])) == PRESETS[name]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "conformer"}, "kind is 'conformer', expected one of deepspeech2, las"),
        ({"kind": "las", "atention": "dot"}, "unknown key 'atention' in las: did you mean 'attention'"),
        ({"kind": "las", "dropout": "0.1"}, "las.dropout is '0.1', expected float"),
        ({"kind": "las", "listener_layers": True}, "las.listener_layers is True, expected int"),
        ({"kind": "las", "listener_layers": 2.0}, "las.listener_layers is 2.0, expected int"),
        ({"kind": "las", "pyramid": 1}, "las.pyramid is 1, expected bool"),
        ({"kind": "las", "convolutions": 3}, "las.convolutions is 3, expected a list"),
        (
            {"kind": "las", "convolutions": [{"kernel": [3]}]},
            r"convolutions\[0\].kernel is \[3\], expected a list of 2",
        ),
        ({"kind": "las", "convolutions": [{"kernels": [3, 3]}]}, r"unknown key 'kernels' in las.convolutions\[0\]"),
        ({"kind": "las", "dropout": 2}, "LasConfig.dropout is 2"),
    ],
)
def test_json_that_is_not_a_configuration_is_refused_in_one_line(values, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        from_json(json.dumps(values))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_text_that_is_not_an_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a configuration is"):
        from_json(text)


def test_what_is_not_named_is_at_its_default() -> None:
    assert from_dict({"kind": "las", "dropout": 0}) == LasConfig(dropout=0)


# The files of the reference system, key for key.
REFERENCE_LAS = {
    "model_name": "LAS",
    "rnn_type": "lstm",
    "vocab_size": 16000,
    "encoder_hidden_dim": 256,
    "decoder_hidden_dim": 256,
    "num_encoder_layers": 3,
    "num_decoder_layers": 2,
    "dropout": 0.15,
    "teacher_forcing_rate": 0.99,
    "pad_id": 0,
}
REFERENCE_DEEPSPEECH2 = {
    "model_name": "deepspeech2",
    "num_conv_layers": 3,
    "channels": [32, 32, 96],
    "kernel_sizes": [[41, 11], [21, 11], [21, 11]],
    "strides": [[2, 2], [2, 1], [2, 1]],
    "rnn_type": "gru",
    "num_reccurent_layers": 7,
    "hidden_dim": 128,
    "dropout": 0.1,
    "recurrent_dropout": 0.0,
    "vocab_size": 16000,
    "blank_index": 14,
    "pad_index": 0,
}


def test_files_of_the_reference_system_are_the_presets() -> None:
    for size, units, layers in (("small", 256, 3), ("medium", 512, 4), ("large", 1024, 4)):
        sizes = {"encoder_hidden_dim": units, "decoder_hidden_dim": units, "num_encoder_layers": layers}
        assert from_reference(REFERENCE_LAS | sizes) == (PRESETS[f"las-reference-{size}"], 16000, 0, None)
    assert from_reference(REFERENCE_DEEPSPEECH2) == (PRESETS["deepspeech2-reference"], 16000, 0, 14)
    assert from_reference(REFERENCE_DEEPSPEECH2 | {"model_name": "DS2"})[1:] == (16000, 0, 14)


@pytest.mark.parametrize(
    ("key", "value"),
    {
        "rnn_type": "rnn",
        "encoder_hidden_dim": 99,
        "decoder_hidden_dim": 99,
        "num_encoder_layers": 2,
        "num_decoder_layers": 1,
        "dropout": 0.3,
        "teacher_forcing_rate": 0.5,
        "pad_id": 4,
        "vocab_size": 7,
    }.items(),
)
def test_every_option_of_its_las_reaches_somewhere(key: str, value) -> None:
    assert from_reference(REFERENCE_LAS | {key: value}) != from_reference(REFERENCE_LAS)


@pytest.mark.parametrize(
    ("key", "value"),
    {
        "channels": [1, 2, 3],
        "kernel_sizes": [[3, 3]] * 3,
        "strides": [[1, 1]] * 3,
        "rnn_type": "lstm",
        "num_reccurent_layers": 2,
        "hidden_dim": 9,
        "dropout": 0.3,
        "recurrent_dropout": 0.3,
        "vocab_size": 7,
        "blank_index": 2,
        "pad_index": 2,
    }.items(),
)
def test_every_option_of_its_deepspeech2_reaches_somewhere(key: str, value) -> None:
    assert from_reference(REFERENCE_DEEPSPEECH2 | {key: value}) != from_reference(REFERENCE_DEEPSPEECH2)


def test_other_files_are_refused() -> None:
    with pytest.raises(ValueError, match="model_name is 'rnnt', expected one of las, ds2, deepspeech2"):
        from_reference({"model_name": "rnnt"})
    with pytest.raises(ValueError, match="the key 'pad_id' of a las file is missing"):
        from_reference({key: value for key, value in REFERENCE_LAS.items() if key != "pad_id"})
    with pytest.raises(ValueError, match="the key 'units' of a las file is unknown"):
        from_reference(REFERENCE_LAS | {"units": 3})
    with pytest.raises(ValueError, match="num_conv_layers is 2, but channels, kernel_sizes and strides have 3, 3, 3"):
        from_reference(REFERENCE_DEEPSPEECH2 | {"num_conv_layers": 2})


LAS = LasConfig(listener_layers=3, listener_units=4, speller_units=6, embedding_units=3, attention_units=8)
DEEPSPEECH2 = DeepSpeech2Config(convolutions=(FRONT,), recurrent_layers=2, recurrent_units=4)
COUNTED = [
    *(dataclasses.replace(LAS, attention=attention) for attention in ATTENTIONS),
    *(dataclasses.replace(LAS, cell=cell, speller_layers=2, start_from_memory=True) for cell in CELLS),
    *(dataclasses.replace(DEEPSPEECH2, cell=cell) for cell in CELLS),
    dataclasses.replace(LAS, pyramid=False, projection=True, tied_output=True, convolutions=(FRONT,), ctc_head=True),
    dataclasses.replace(LAS, input_feeding=False),
    dataclasses.replace(LAS, output_context=False),
    dataclasses.replace(DEEPSPEECH2, bidirectional=False, lookahead=3, norm="layer"),
    dataclasses.replace(DEEPSPEECH2, merge="concat", norm="none"),
    dataclasses.replace(DEEPSPEECH2, convolutions=(dataclasses.replace(FRONT, pool=(2, 3), norm="none"), FRONT)),
]


@pytest.mark.parametrize("config", COUNTED)
def test_counted_parameters_are_those_of_the_model(config: LasConfig | DeepSpeech2Config) -> None:
    sizes = {"features": 7, "vocab_size": 5, "channels": 2}
    model = (Las if isinstance(config, LasConfig) else DeepSpeech2)(config, **sizes)
    expected = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    assert sum(parameters(config, **sizes).values()) == expected


def test_describe_needs_no_tensorflow() -> None:
    code = "import sys; from asr_models.__main__ import main; assert main(['describe', 'las-small']) == 0; "
    code += "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2,762,014" in done.stdout and "one output every 4 frames, 25 a second" in done.stdout


def test_show_writes_what_describe_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "deepspeech2-streaming"]) == 0
    path = tmp_path / "config.json"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["describe", str(path), "--features", "40", "--vocab-size", "30"]) == 0
    told = capsys.readouterr().out
    assert "an output waits for 43 frames of future" in told and "look at 7 frames before and 7 after" in told
    path.write_text('{"kind": "las", "layers": 3}', encoding="utf-8")
    assert main(["describe", str(path)]) == 2
    assert "config.json: unknown key 'layers' in las" in capsys.readouterr().err


def test_presets_are_listed_with_their_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert "2.8 M parameters, one output every 4 frames" in lines[list(PRESETS).index("las-small")]


def test_an_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "las-smal"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "'las-smal'; the presets are deepspeech2," in error
