"""The mean of checkpoints, against sums by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import asr_features
from asr_train import checkpoint, model_dir
from asr_train.averaging import average, mean, weights_of
from asr_train.checkpoint import Progress, Score
from asr_train.cli.average import command
from asr_train.config import RunConfig
from asr_train.errors import UserError
from asr_train.files import Arrays, read_arrays
from asr_train.folders import check_folder
from asr_train.run import prepare
from asr_train.tokenizer import Tokenizer


def arrays(rng: np.random.Generator) -> dict[str, Arrays]:
    model: Arrays = {"a/kernel": rng.normal(size=(3, 2)).astype(np.float32), "a/mean": np.float32(rng.normal(size=2))}
    return {"model": model, "optimizer": {"n": np.array(1)}}


def test_the_mean_is_the_sum_by_the_number() -> None:
    rng = np.random.default_rng(1)
    sets = [arrays(rng)["model"] for _ in range(5)]
    found = mean((str(n), one) for n, one in enumerate(sets))
    for name in sets[0]:
        assert found[name].dtype == np.float32
        expected = np.sum([one[name].astype(np.longdouble) for one in sets], 0) / 5
        np.testing.assert_array_equal(found[name], expected.astype(np.float32))
    assert mean([("one", {"n": np.array(3)}), ("two", {"n": np.array(5)})])["n"] == 5


def test_one_alone_is_itself() -> None:
    (one,) = [arrays(np.random.default_rng(2))["model"]]
    for name, value in mean([("one", one)]).items():
        np.testing.assert_array_equal(value, one[name])


def test_sets_that_differ_are_refused() -> None:
    a, b = np.zeros(2, np.float32), np.zeros(3, np.float32)
    with pytest.raises(UserError, match="two: weight b is in only one of it and one"):
        mean([("one", {"a": a}), ("two", {"a": a, "b": a})])
    with pytest.raises(UserError, match=r"two: weight a has shape \(3,\), in one \(2,\)"):
        mean([("one", {"a": a}), ("two", {"a": b})])
    with pytest.raises(UserError, match="nothing to average"):
        mean([])


@pytest.fixture
def run(tiny_ctc: RunConfig, tmp_path: Path) -> Path:
    """A run's folder with three checkpoints; the last has moving averages."""
    found = prepare(tiny_ctc, tmp_path / "run")
    rng = np.random.default_rng(3)
    for step in (1, 2, 3):
        groups = arrays(rng)
        if step == 3:
            groups["ema"] = {"a/kernel": np.ones((3, 2), np.float32)}
        progress = Progress(step=step, scores=[Score(0.1 * n, 1.0, n) for n in (1, 2, 3)])
        checkpoint.save(found.checkpoints, groups, progress, keep_last=3)
    return found.output


def test_the_command_writes_a_model_folder(run: Path, tmp_path: Path) -> None:
    folders = sorted((run / "checkpoints").iterdir())
    result = CliRunner().invoke(command, [*map(str, folders), "--output", str(tmp_path / "mean")])
    assert result.exit_code == 0, result.output
    parts, tokenizer = model_dir.check(tmp_path / "mean")
    assert tokenizer == Tokenizer.load(run / "tokenizer.model")
    assert isinstance(parts["frontend"], asr_features.LogMel) and isinstance(
        parts["normalize"], asr_features.UtteranceNorm
    )
    weights = read_arrays(tmp_path / "mean/weights.safetensors")
    np.testing.assert_array_equal(weights_of(folders[2])["a/kernel"], 1.0)
    for name in weights:
        np.testing.assert_allclose(weights[name], np.mean([weights_of(f)[name] for f in folders], 0), rtol=1e-6)
    assert "The mean of 3 checkpoints (step-00000001, " in (tmp_path / "mean/README.md").read_text()
    again = CliRunner().invoke(command, [str(folders[0]), "--output", str(tmp_path / "mean")])
    assert isinstance(again.exception, UserError) and "already there" in str(again.exception)
    average([tmp_path / "mean", folders[2]], tmp_path / "both")  # model folders, too
    check_folder(tmp_path / "both", model_dir.FILES)


def test_what_cannot_be_averaged_is_told(run: Path, tiny_ctc: RunConfig, tmp_path: Path) -> None:
    first = run / "checkpoints/step-00000001"
    with pytest.raises(UserError, match="neither a checkpoint .* nor a model folder"):
        average([run], tmp_path / "mean")
    other = dataclasses.replace(tiny_ctc, features=asr_features.PRESETS["kaldi-40"])
    second = prepare(other, tmp_path / "other")
    path = checkpoint.save(second.checkpoints, arrays(np.random.default_rng(4)), Progress(step=1))
    with pytest.raises(UserError, match="step-00000001: its frontend differ from those of"):
        average([first, path], tmp_path / "mean")
    (first / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="model.safetensors was altered"):
        average([first], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()
