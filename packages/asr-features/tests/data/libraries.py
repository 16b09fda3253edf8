"""The recipes as other libraries compute them: what the presets are held to, and what the benchmarks time.

Every function here gives a function of float samples in [-1, 1], `(N,)` to `(T, F)`. What can be made once (filters,
windows, transforms) is made once, and a library is imported when it is asked for. Nothing here imports asr_features.
"""

import importlib
import sys
from array import array
from types import ModuleType

import numpy as np

RATE = 16000


def torchaudio() -> ModuleType:
    """torchaudio. The compiled part of the wheel wants CUDA; the functions used here are Python, and do without it."""
    try:
        return importlib.import_module("torchaudio")
    except OSError:
        absent = ModuleType("torchaudio._extension")
        absent._IS_TORCHAUDIO_EXT_AVAILABLE = False
        absent.fail_if_no_align = lambda function: function
        sys.modules["torchaudio._extension"] = absent
        return importlib.import_module("torchaudio")


# Kaldi: kaldi-native-fbank, torchaudio.compliance.kaldi, lhotse


def knf_frames(extractor, samples, scale):
    """All frames of a fresh online extractor: the offline use of kaldi-native-fbank.

    It takes an array.array quicker than a list or an array of numpy.
    """
    extractor.accept_waveform(RATE, array("f", (samples * np.float32(scale)).tobytes()))
    extractor.input_finished()
    return np.stack([extractor.get_frame(index) for index in range(extractor.num_frames_ready)])


def knf_options(kind, *, num_mels, snip_edges=True, low_hz=20.0, high_hz=0.0, **options):
    import kaldi_native_fbank

    made = getattr(kaldi_native_fbank, kind)()
    made.frame_opts.dither = 0
    made.frame_opts.samp_freq = RATE
    made.frame_opts.snip_edges = snip_edges
    made.mel_opts.num_bins = num_mels
    made.mel_opts.low_freq, made.mel_opts.high_freq = low_hz, high_hz
    for name, value in options.items():
        setattr(made, name, value)
    return made


def knf(kind, *, scale=32768.0, **options):
    """compute-fbank-feats or compute-mfcc-feats, kind "Fbank" or "Mfcc", with --dither=0 and the options given."""
    import kaldi_native_fbank

    made, online = knf_options(f"{kind}Options", **options), getattr(kaldi_native_fbank, f"Online{kind}")
    return lambda samples: knf_frames(online(made), samples, scale)


def knf_deltas(base, *, order=2, window=2):
    """add-deltas after another of these functions."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.DeltaOptions(order=order, window=window)
    return lambda samples: kaldi_native_fbank.compute_deltas(options, base(samples))


def torchaudio_kaldi(kind, **options):
    """torchaudio.compliance.kaldi.fbank or mfcc, at the scale of int16, and without dither as by default."""
    import torch

    torchaudio()
    kaldi = importlib.import_module("torchaudio.compliance.kaldi")
    function = getattr(kaldi, kind)
    return lambda samples: function(torch.from_numpy(samples)[None] * 32768, **options).numpy()


def lhotse_fbank():
    """The front end of icefall's recipes: lhotse's Fbank as it is by default."""
    from lhotse import Fbank

    extractor = Fbank()
    return lambda samples: np.asarray(extractor.extract(samples, RATE))


def htk_fbank():
    """HTK's FBANK with 26 channels, magnitudes, a Hamming window and its floor of 1, by kaldi-native-fbank."""
    options = knf_options("FbankOptions", num_mels=26, low_hz=0.0, use_power=False, eps=1.0)
    options.frame_opts.window_type = "hamming"
    options.frame_opts.remove_dc_offset = False
    options.mel_opts.htk_mode = True
    import kaldi_native_fbank

    return lambda samples: knf_frames(kaldi_native_fbank.OnlineFbank(options), samples, 32768.0)


def htk_mfcc():
    """HTK's MFCC_0 (the HTK Book, 5.6): sqrt(2 / N) in every row of the DCT, CEPLIFTER 22, C0 last."""
    fbank = htk_fbank()
    dct = np.sqrt(2 / 26) * np.cos(np.pi / 26 * np.arange(13)[:, None] * (np.arange(26) + 0.5))
    dct *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)[:, None]
    return lambda samples: np.roll(fbank(samples).astype(np.float64) @ dct.T, -1, axis=1)


# torch: Whisper, torchaudio, NeMo, ESPnet


def slaney_filters(**options):
    import librosa
    import torch

    return torch.from_numpy(librosa.filters.mel(sr=RATE, **options))


def whisper(num_mels):
    """OpenAI's whisper/audio.py, log_mel_spectrogram. Its mel_filters.npz holds librosa's filters."""
    import torch

    filters = slaney_filters(n_fft=400, n_mels=num_mels)

    def log_mel_spectrogram(samples):
        audio = torch.from_numpy(samples)
        window = torch.hann_window(400).to(audio.device)
        stft = torch.stft(audio, 400, 160, window=window, return_complex=True)
        magnitudes = stft[..., :-1].abs() ** 2
        mel_spec = filters @ magnitudes
        log_spec = torch.clamp(mel_spec, min=1e-10).log10()
        log_spec = torch.maximum(log_spec, log_spec.max() - 8.0)
        log_spec = (log_spec + 4.0) / 4.0
        return log_spec.T.numpy()

    return log_mel_spectrogram


def torchaudio_mel():
    """ln of torchaudio.transforms.MelSpectrogram, at least 1e-10."""
    import torch

    transform = torchaudio().transforms.MelSpectrogram(RATE, n_fft=400, hop_length=160, n_mels=80)
    return lambda samples: transform(torch.from_numpy(samples)).clamp(min=1e-10).log().T.numpy()


def torchaudio_mfcc():
    """torchaudio.transforms.MFCC over the same frames and filters: decibels, nothing 80 below the maximum."""
    import torch

    options = {"n_fft": 400, "hop_length": 160, "n_mels": 80}
    transform = torchaudio().transforms.MFCC(RATE, n_mfcc=40, melkwargs=options)
    return lambda samples: transform(torch.from_numpy(samples)).T.numpy()


def nemo(*, normalize=False):
    """NeMo's FilterbankFeatures without dither: window 400 within an FFT of 512, the valid frames alone."""
    import torch

    filters = slaney_filters(n_fft=512, n_mels=80)
    window = torch.hann_window(400, periodic=False)

    def features(samples):
        x = torch.from_numpy(samples)
        x = torch.cat((x[:1], x[1:] - 0.97 * x[:-1]))
        stft = torch.stft(x, 512, 160, 400, window, center=True, pad_mode="constant", return_complex=True)
        power = torch.sqrt(torch.view_as_real(stft).pow(2).sum(-1)).pow(2)
        log_mel = torch.log(torch.matmul(filters, power) + 2**-24)[:, : len(samples) // 160]
        if normalize:
            mean, std = log_mel.mean(1, keepdim=True), log_mel.std(1, keepdim=True)
            log_mel = (log_mel - mean) / (std + 1e-5)
        return log_mel.T.numpy()

    return features


def espnet():
    """ESPnet2's DefaultFrontend with n_fft 512 and hop_length 128, before its normalisation."""
    import torch

    filters, window = slaney_filters(n_fft=512, n_mels=80).T, torch.hann_window(512)

    def features(samples):
        stft = torch.stft(torch.from_numpy(samples), 512, 128, 512, window, center=True, return_complex=True)
        power = stft.real**2 + stft.imag**2
        return torch.clamp(power.T @ filters, min=1e-10).log().numpy()

    return features


# librosa, python_speech_features, TensorFlow


def librosa_mel(dtype=np.float32):
    """ln of librosa.feature.melspectrogram, at least 1e-10."""
    import librosa

    def features(samples):
        options = {"sr": RATE, "n_fft": 400, "hop_length": 160, "n_mels": 80, "dtype": dtype}
        mel = librosa.feature.melspectrogram(y=samples.astype(dtype, copy=False), **options)
        return np.log(np.maximum(1e-10, mel)).T

    return features


def librosa_mfcc(dtype=np.float32):
    """librosa.feature.mfcc as it is by default, for samples at 22050 Hz."""
    import librosa

    return lambda samples: librosa.feature.mfcc(y=samples.astype(dtype, copy=False), sr=22050, dtype=dtype).T


def psf(kind, **options):
    """python_speech_features.logfbank or mfcc, at the scale of int16."""
    import python_speech_features

    function = getattr(python_speech_features, kind)
    return lambda samples: function(samples * 32768.0, RATE, **options)


def psf_deltas():
    """python_speech_features.delta of its mfcc, beside it."""
    import python_speech_features

    mfcc = psf("mfcc")

    def features(samples):
        cepstra = mfcc(samples)
        return np.hstack([cepstra, python_speech_features.delta(cepstra, 2)])

    return features


def tensorflow(kind, *, compiled=False):
    """tf.signal: "spectrogram", "log-mel" and "mfcc" of frames of 20 ms, or "asr", TensorFlowASR's log-mel."""
    import tensorflow as tf

    signal = tf.signal
    asr = kind == "asr"
    low, high, offset = (0.0, 8000.0, 1e-6) if asr else (80.0, 7600.0, 1e-12)
    filters = signal.linear_to_mel_weight_matrix(80, 257, RATE, low, high)

    def graph(samples):
        if asr:
            samples = tf.concat([samples[:1], samples[1:] - 0.97 * samples[:-1]], 0)
        stft = signal.stft(samples, 400 if asr else 320, 160, 512, pad_end=asr)
        power = tf.square(tf.abs(stft))
        if kind == "spectrogram":
            return tf.math.log(power + offset)
        log_mel = tf.math.log(tf.matmul(power, filters) + offset)
        return signal.mfccs_from_log_mel_spectrograms(log_mel)[..., :13] if kind == "mfcc" else log_mel

    if compiled:
        graph = tf.function(graph, input_signature=[tf.TensorSpec([None], tf.float32)])
    return lambda samples: graph(tf.constant(samples)).numpy()


F64 = np.float64
KNF = "kaldi_native_fbank"
HIRES = {"num_mels": 40, "num_ceps": 40, "high_hz": -400.0, "use_energy": False}

# Of a name, what the libraries need, and the function that makes the function.
PEERS = {
    "kaldi-80": (KNF, lambda: knf("Fbank", num_mels=80)),
    "kaldi-80 mirror": (KNF, lambda: knf("Fbank", num_mels=80, snip_edges=False)),
    "kaldi-80-unit": (KNF, lambda: knf("Fbank", num_mels=80, scale=1.0)),
    "kaldi-80 torchaudio": ("torchaudio", lambda: torchaudio_kaldi("fbank", num_mel_bins=80)),
    "kaldi-40": (KNF, lambda: knf("Fbank", num_mels=40)),
    "kaldi-23": (KNF, lambda: knf("Fbank", num_mels=23)),
    "kaldi-23 energy": (KNF, lambda: knf("Fbank", num_mels=23, use_energy=True)),
    "kaldi-23 energy last": (KNF, lambda: knf("Fbank", num_mels=23, use_energy=True, htk_compat=True)),
    "icefall-80": (KNF, lambda: knf("Fbank", num_mels=80, scale=1.0, snip_edges=False, high_hz=-400.0)),
    "icefall-80 lhotse": ("lhotse torch", lhotse_fbank),
    "kaldi-mfcc-13": (KNF, lambda: knf("Mfcc", num_mels=23)),
    "kaldi-mfcc-13 mirror": (KNF, lambda: knf("Mfcc", num_mels=23, snip_edges=False)),
    "kaldi-mfcc-13 c0": (KNF, lambda: knf("Mfcc", num_mels=23, use_energy=False)),
    "kaldi-mfcc-13 deltas": (KNF, lambda: knf_deltas(knf("Mfcc", num_mels=23))),
    "kaldi-mfcc-13 torchaudio": (
        "torchaudio",
        lambda: torchaudio_kaldi("mfcc", num_mel_bins=23, use_energy=True, energy_floor=0.0),
    ),
    "kaldi-mfcc-40": (KNF, lambda: knf("Mfcc", **HIRES)),
    "htk-26": (KNF, htk_fbank),
    "htk-mfcc-13": (KNF, htk_mfcc),
    "whisper-80": ("torch librosa", lambda: whisper(80)),
    "whisper-128": ("torch librosa", lambda: whisper(128)),
    "librosa-80": ("librosa", librosa_mel),
    "librosa-80 float64": ("librosa", lambda: librosa_mel(F64)),
    "librosa-mfcc-20": ("librosa", librosa_mfcc),
    "librosa-mfcc-20 float64": ("librosa", lambda: librosa_mfcc(F64)),
    "torchaudio-80": ("torchaudio", torchaudio_mel),
    "torchaudio-mfcc-40": ("torchaudio", torchaudio_mfcc),
    "nemo-80": ("torch librosa", nemo),
    "nemo-80 normalized": ("torch librosa", lambda: nemo(normalize=True)),
    "espnet-80": ("torch librosa", espnet),
    "psf-26": ("python_speech_features", lambda: psf("logfbank")),
    "psf-mfcc-13": ("python_speech_features", lambda: psf("mfcc")),
    "psf-mfcc-13 deltas": ("python_speech_features", psf_deltas),
    "tensorflow-80": ("tensorflow", lambda: tensorflow("log-mel")),
    "tensorflow-mfcc-13": ("tensorflow", lambda: tensorflow("mfcc")),
    "tensorflow-asr-80": ("tensorflow", lambda: tensorflow("asr")),
    "tensorflow-spectrogram-257": ("tensorflow", lambda: tensorflow("spectrogram")),
}
