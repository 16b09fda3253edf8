"""What is public, and what importing it brings along."""

import subprocess
import sys

import asr_decoders

HEAVY = [
    "scipy",
    "tensorflow",
    "torch",
    "jax",
    "keras",
    "soundfile",
    "asr_features",
    "asr_models",
    "asr_train",
]


def test_public_names_exist() -> None:
    assert sorted(asr_decoders.__all__) == asr_decoders.__all__
    assert all(hasattr(asr_decoders, name) for name in asr_decoders.__all__)


def test_import_brings_numpy_alone() -> None:
    code = f"import asr_decoders, asr_decoders.testing, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
