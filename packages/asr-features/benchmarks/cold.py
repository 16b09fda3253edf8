"""Starting cold: CPU time of a fresh process that imports a library and makes its first log-mel of ten seconds."""

import resource
import statistics
import subprocess
import sys

import interleave  # first: it sets the limits on threads

SIGNAL = "import numpy as np; x = np.sin(np.arange(160000, dtype=np.float32))\n"

# What each process runs; the modules it needs; at most how many ms of CPU beyond numpy.
CASES = {
    "import numpy": ("import numpy", "numpy", None),
    "import asr_features": ("import numpy, asr_features", "numpy", 20),
    "asr-features, first log-mel": (SIGNAL + "from asr_features import presets; presets.KALDI_80(x)", "numpy", 400),
    "import scipy.fft": ("import numpy, scipy.fft", "scipy", None),
    "kaldi-native-fbank": ("knf('Fbank', num_mels=80)", "kaldi_native_fbank", None),
    "librosa": ("librosa_mel()", "librosa", None),
    "Whisper's torch code": ("whisper(80)", "torch librosa", None),
    "torchaudio.compliance.kaldi": ("torchaudio_kaldi('fbank', num_mel_bins=80)", "torchaudio", None),
    "torchaudio MelSpectrogram": ("torchaudio_mel()", "torchaudio", None),
    "python_speech_features": ("psf('logfbank')", "python_speech_features", None),
    "tf.signal": ("tensorflow('log-mel')", "tensorflow", None),
}
QUICK = ("numpy", "scipy", "kaldi_native_fbank")  # measured in every round, the others in every third


def code(source: str) -> str:
    """The program of a case: what is no import is a function of libraries.py, applied to the signal."""
    if "import" in source:
        return source
    data = str(interleave.PACKAGE / "tests" / "data")
    return f"import sys; sys.path.append({data!r})\n{SIGNAL}import libraries; libraries.{source}(x)"


def cpu_seconds(program: str) -> float:
    """User and system time, of all threads, of a process that runs the program as a user would."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=interleave.unlimited())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    options = interleave.arguments(__doc__, rounds=9)
    cases = {name: case for name, case in CASES.items() if interleave.present(case[1])}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(options.rounds + 1):
        for name, (source, needs, _) in cases.items():
            if number % 3 == 0 or needs in QUICK:
                times[name].append(cpu_seconds(code(source)))
    # The first round finds nothing in the caches of the disk, nor any compiled module.
    seconds = {name: statistics.median(each[1:] or each) for name, each in times.items()}
    base = seconds["import numpy"]
    lines = [
        [name, f"{1e3 * seconds[name]:.0f}", f"{1e3 * (seconds[name] - base):.0f}", goal or ""]
        for name, (_, _, goal) in cases.items()
    ]
    header = ["process", "CPU, ms", "beyond numpy, ms", "at most"]
    text = (
        "CPU time, user and system, of a process from its start to its end, no limit set on threads; the medians of "
        f"{options.rounds} rounds in turns. Each library makes its first log-mel of ten seconds."
    )
    modules = ["kaldi_native_fbank", "librosa", "torch", "torchaudio", "tensorflow", "python_speech_features"]
    interleave.report(__file__, "Cold start", [text, interleave.table(header, lines)], modules, options.output)


if __name__ == "__main__":
    main()
