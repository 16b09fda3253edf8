"""Writes peers.npz, the outputs of other libraries (libraries.py) on one signal, which test_parity.py compares with.

Made with numpy 2.4.6, scipy 1.17.1, kaldi-native-fbank 1.23.0, librosa 0.11.0, lhotse 1.33.0, python_speech_features
0.6, tensorflow 2.21.0, torch 2.13.0 and torchaudio 2.11.0:

    pip install kaldi-native-fbank librosa lhotse python_speech_features tensorflow-cpu torch torchaudio
    python make_peers.py
"""

from pathlib import Path

import numpy as np
from libraries import PEERS, RATE


def signal() -> np.ndarray:
    """0.3 s at int16: a falling tone with harmonics that fades, noise, and two digital silences."""
    rng = np.random.default_rng(5)
    time = np.arange(int(0.3 * RATE)) / RATE
    phase = 2 * np.pi * (300 * time - 200 * time**2)
    voice = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 12)) * np.exp(-4 * time)
    wave = 0.2 * voice + 0.002 * rng.standard_normal(len(time)) + 0.01
    wave[1600:2240] = 0  # longer than a frame of 400
    wave[-1280:] = 0  # and than half of one of 2048
    return np.round(wave * 32768).astype(np.int16)


def main() -> None:
    samples = signal()
    floats = samples.astype(np.float32) / 32768
    outputs = {}
    for name, (_, make) in PEERS.items():
        output = make()(floats)
        outputs[name] = output if "float64" in name else output.astype(np.float32)
    np.savez_compressed(Path(__file__).parent / "peers.npz", samples=samples, **outputs)


if __name__ == "__main__":
    main()
