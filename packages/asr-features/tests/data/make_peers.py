"""Writes peers.npz, the outputs of other libraries on one signal, which test_parity.py compares with.

Made with kaldi-native-fbank 1.23.0, librosa 0.11.0, transformers 5.23.0 and numpy 2.4.6:

    pip install kaldi-native-fbank librosa transformers
    python make_peers.py
"""

from pathlib import Path

import kaldi_native_fbank as knf
import librosa
import numpy as np
from transformers import WhisperFeatureExtractor

RATE = 16000


def signal() -> np.ndarray:
    """0.3 s at int16: a falling tone with harmonics that fades, noise, and a short digital silence."""
    rng = np.random.default_rng(5)
    time = np.arange(int(0.3 * RATE)) / RATE
    phase = 2 * np.pi * (300 * time - 200 * time**2)
    voice = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 12)) * np.exp(-4 * time)
    wave = 0.2 * voice + 0.002 * rng.standard_normal(len(time)) + 0.01
    wave[1600:2100] = 0
    return np.round(wave * 32768).astype(np.int16)


def kaldi(samples: np.ndarray, num_mels: int, snip_edges: bool) -> np.ndarray:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = RATE
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = num_mels
    options.mel_opts.high_freq = 0
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(RATE, samples.tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(index) for index in range(fbank.num_frames_ready)])


def main() -> None:
    samples = signal()
    floats = samples.astype(np.float32) / 32768
    mel = librosa.feature.melspectrogram(y=floats, sr=RATE, n_fft=400, hop_length=160, n_mels=80)
    whisper = WhisperFeatureExtractor(feature_size=80)(
        floats, sampling_rate=RATE, padding="do_not_pad", return_tensors="np"
    )
    np.savez_compressed(
        Path(__file__).parent / "peers.npz",
        samples=samples,
        kaldi_80=kaldi(samples.astype(np.float32), 80, True),
        kaldi_40_mirror=kaldi(samples.astype(np.float32), 40, False),
        librosa_80=np.log(np.maximum(mel, 1e-10)).T.astype(np.float32),
        whisper_80=whisper.input_features[0].T,
    )


if __name__ == "__main__":
    main()
