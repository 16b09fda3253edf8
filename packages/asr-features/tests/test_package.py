"""What importing costs, and what is exported."""

import subprocess
import sys

import asr_features


def test_importing_is_light():
    heavy = "'scipy', 'soundfile', 'tensorflow', 'hypothesis'"
    code = f"import sys, asr_features; print([name for name in ({heavy}) if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_wav_needs_neither_soundfile_nor_scipy(tmp_path):
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(b"\0\1" * 800)
    code = (
        "import sys, asr_features; x = asr_features.read(sys.argv[1], sample_rate=16000); print(len(x)); "
        "print([name for name in ('scipy', 'soundfile') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["1600", "[]"]


def test_every_exported_name_is_there():
    assert all(hasattr(asr_features, name) for name in asr_features.__all__)
    assert callable(asr_features.resample)  # the function, not its module


def test_presets_satisfy_the_interface():
    frontend: asr_features.Frontend = asr_features.presets.KALDI_80
    assert (frontend.sample_rate, frontend.dim, frontend.num_frames(16000)) == (16000, 80, 98)
