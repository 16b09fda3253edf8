"""Memory: how far a process's peak rises above its samples and its output, each in a process of its own."""

import resource
import subprocess
import sys
from pathlib import Path

import interleave  # first: it sets the limits on threads
import numpy as np
from libraries import PEERS

from asr_features import presets

AT_MOST = 8  # MB beyond the output, for one hour of KALDI_80
MODULES = ("kaldi_native_fbank", "librosa", "torch", "torchaudio", "tensorflow", "python_speech_features")
OURS = {
    "KALDI_80": presets.KALDI_80,
    "KALDI_MFCC_13": presets.KALDI_MFCC_13,
    "LIBROSA_80": presets.LIBROSA_80,
    "NEMO_80": presets.NEMO_80,
    "WHISPER_80": presets.WHISPER_80,
}
THEIRS = {
    "kaldi-native-fbank": PEERS["kaldi-80"],
    "torchaudio.compliance.kaldi": PEERS["kaldi-80 torchaudio"],
    "torchaudio MelSpectrogram": PEERS["torchaudio-80"],
    "librosa": PEERS["librosa-80"],
    "Whisper's torch code": PEERS["whisper-80"],
    "tf.signal": PEERS["tensorflow-80"],
    "python_speech_features": PEERS["psf-26"],
}


def peak() -> int:
    """The most bytes that this process has held."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def held() -> int:
    """The bytes that this process holds now, where the system tells; else the most that it has held."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else peak()


def noise(seconds: int) -> np.ndarray:
    """Made in place, second by second, so that nothing but the samples raises the peak."""
    rng = np.random.default_rng(0)
    samples = np.empty(seconds * interleave.RATE, np.float32)
    for second in samples.reshape(seconds, -1):
        rng.standard_normal(out=second, dtype=np.float32)
        second *= np.float32(0.05)
    return samples


def work(name: str, seconds: int) -> float:
    """Megabytes by which the features of so much audio raise the peak, beyond their own size."""
    function = OURS[name] if name in OURS else THEIRS[name][1]()
    function(noise(1))  # what is loaded and made once is not counted
    samples = noise(seconds)
    before = held()
    features = function(samples)
    return (peak() - before - features.nbytes) / 1e6


def measure(name: str, seconds: int) -> float:
    """The same, in a process of its own."""
    command = [sys.executable, __file__, "--work", name, str(seconds)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    options = interleave.arguments(__doc__, rounds=1)
    lines = []
    for name in OURS:
        extra = max(measure(name, 3600) for _ in range(options.rounds))
        goal = str(AT_MOST) if name == "KALDI_80" else ""
        lines.append([name, "one hour", f"{extra:.1f}", goal])
    for name, (needs, _) in THEIRS.items():
        if interleave.present(needs):
            extra = max(measure(name, 600) for _ in range(options.rounds))
            lines.append([name, "ten minutes", f"{extra:.0f}", ""])
    header = ["front end", "audio", "MB beyond samples and output", "at most"]
    text = "The libraries are given a sixth of the audio, for what they take grows with it."
    interleave.report(__file__, "Memory", [text, interleave.table(header, lines)], MODULES, options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(work(sys.argv[2], int(sys.argv[3])))
    else:
        main()
