"""What importing the package does, and does not."""

import importlib
import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_configurations_come_without_tensorflow() -> None:
    code = (
        "import sys, asr_models; asr_models.PRESETS['las-small']; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    assert run(code).returncode == 0


def test_every_public_name_exists() -> None:
    import asr_models

    for name in asr_models.__all__:
        assert getattr(asr_models, name) is not None


def test_another_backend_of_keras_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from asr_models import initial

    with monkeypatch.context() as patch:
        patch.setattr(keras.config, "backend", lambda: "jax")
        with pytest.raises(ImportError, match="needs Keras on TensorFlow, not on jax: set KERAS_BACKEND=tensorflow"):
            importlib.reload(initial)
    importlib.reload(initial)
