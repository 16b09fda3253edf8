"""Every preset against its library's recipe, written out in float64, frame by frame, as slowly as it reads."""

import dataclasses

import numpy as np
import pytest

from asr_features import presets
from asr_features.frontends import LogMel, Mfcc
from asr_features.presets import PRESETS
from asr_features.testing import check_frontend


def voice(count, rate=16000, seed=0):
    """Harmonics that glide and fade over noise, with a digital silence: a little like speech."""
    rng = np.random.default_rng(seed)
    time = np.arange(count) / rate
    phase = 2 * np.pi * (220 * time + 60 * np.sin(3 * time))
    wave = sum(np.sin(phase * harmonic) / harmonic for harmonic in range(1, 20)) * (1 + np.sin(7 * time))
    wave = 0.08 * wave + 0.003 * rng.standard_normal(count) + 0.01
    wave[count // 2 : count // 2 + 3000] = 0
    return np.round(wave * 32768).astype(np.float32) / 32768


# What is outside of a signal of n samples, at position i.
def zeros(x, i):
    return x[i] if 0 <= i < len(x) else 0.0


def mirrored(x, i):
    """Kaldi: the edge sample is repeated."""
    while not 0 <= i < len(x):
        i = -i - 1 if i < 0 else 2 * len(x) - 1 - i
    return x[i]


def reflected(x, i):
    """numpy.pad's "reflect": it is not."""
    while not 0 <= i < len(x):
        i = -i if i < 0 else 2 * len(x) - 2 - i
    return x[i]


def frames(x, starts, length, beyond=zeros):
    return [np.array([beyond(x, first + i) for i in range(length)], np.float64) for first in starts]


def emphasised(x):
    return np.array([x[0]] + [x[i] - 0.97 * x[i - 1] for i in range(1, len(x))])


def hann(length, divisor):
    return np.array([0.5 - 0.5 * np.cos(2 * np.pi * i / divisor) for i in range(length)])


def htk_mel(hz):
    return 2595 * np.log10(1 + np.asarray(hz) / 700)


def htk_hz(mel):
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)


def slaney_hz(mel):
    return np.array([m * 200 / 3 if m < 15 else 1000 * np.exp(np.log(6.4) / 27 * (m - 15)) for m in mel])


def triangles(points, edges):
    """One column a filter; `points` are the bins on the scale that the triangles are straight on."""
    columns = []
    for left, center, right in zip(edges, edges[1:], edges[2:], strict=False):
        up, down = (points - left) / (center - left), (right - points) / (right - center)
        columns.append(np.maximum(0, np.minimum(up, down)))
    return np.array(columns).T


def slaney(num_mels, size, rate):
    edges = slaney_hz(np.linspace(0, 15 + 27 * np.log(rate / 2 / 1000) / np.log(6.4), num_mels + 2))
    return triangles(np.fft.rfftfreq(size, 1 / rate), edges) * 2 / (edges[2:] - edges[:-2])


def dct(log_mel, count):
    """DCT-II, orthonormal."""
    size = log_mel.shape[1]
    angle = np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(count))
    return log_mel @ (np.cos(angle) * np.where(np.arange(count) == 0, np.sqrt(1 / size), np.sqrt(2 / size)))


def lifted(cepstra, lifter=22):
    return cepstra * (1 + lifter / 2 * np.sin(np.pi * np.arange(cepstra.shape[1]) / lifter))


def kaldi(samples, *, num_mels, scale=32768.0, high=8000.0, snip=True, energies=None):
    """feature-window.cc and feature-fbank.cc; the list `energies` takes the raw log energies."""
    x = samples * scale
    starts = range(0, len(x) - 399, 160) if snip else [t * 160 + 80 - 200 for t in range((len(x) + 80) // 160)]
    edges = np.linspace(htk_mel(20), htk_mel(high), num_mels + 2)
    filters = triangles(htk_mel(np.arange(257) * 31.25), edges)
    filters[256] = 0
    rows = []
    for frame in frames(x, starts, 400, zeros if snip else mirrored):
        frame -= frame.mean()
        if energies is not None:
            energies.append(np.log(max((frame**2).sum(), 1.1920929e-07)))
        frame[1:] -= 0.97 * frame[:-1].copy()
        frame[0] *= 1 - 0.97
        rows.append(np.abs(np.fft.rfft(frame * hann(400, 399) ** 0.85, 512)) ** 2 @ filters)
    return np.log(np.maximum(rows, 1.1920929e-07))


def kaldi_mfcc_13(x):
    energies = []
    cepstra = lifted(dct(kaldi(x, num_mels=23, energies=energies), 13))
    cepstra[:, 0] = energies
    return cepstra


def htk(x):
    """HSigP.c: a Hamming window, the magnitude, log energies of at least 1."""
    filters = triangles(htk_mel(np.arange(257) * 31.25), np.linspace(0, htk_mel(8000), 28))
    rows = []
    for frame in frames(x * 32768, range(0, len(x) - 399, 160), 400):
        frame[1:] -= 0.97 * frame[:-1].copy()
        frame[0] *= 1 - 0.97
        window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 399)
        rows.append(np.abs(np.fft.rfft(frame * window, 512)) @ filters)
    return np.log(np.maximum(rows, 1.0))


def htk_mfcc(x):
    cepstra = lifted(dct(htk(x), 13))
    return np.column_stack([cepstra[:, 1:], cepstra[:, 0] * np.sqrt(2)])


def stft(x, length, shift, size, pad_end=False):
    """tf.signal.stft and its square."""
    starts = range(0, len(x), shift) if pad_end else range(0, len(x) - length + 1, shift)
    return np.array([np.abs(np.fft.rfft(f * hann(length, length), size)) ** 2 for f in frames(x, starts, length)])


def tensorflow_mel(low, high):
    filters = triangles(htk_mel(np.arange(257) * 31.25), np.linspace(htk_mel(low), htk_mel(high), 82))
    filters[0] = 0
    return filters


def tensorflow(x):
    return np.log(stft(x, 320, 160, 512) @ tensorflow_mel(80, 7600) + 1e-12)


def centered(x, count, shift, length, size, beyond, filters, symmetric=False):
    """librosa and torch.stft: the window in the middle of `size` points, frame t around sample t * shift."""
    left = (size - length) // 2
    window = np.pad(hann(length, length - symmetric), (left, size - length - left))
    cut = frames(x, [t * shift - size // 2 for t in range(count)], size, beyond)
    return np.array([np.abs(np.fft.rfft(frame * window)) ** 2 @ filters for frame in cut])


def librosa_like(x, beyond, count=None, num_mels=80, filters=None):
    filters = slaney(num_mels, 400, 16000) if filters is None else filters
    return np.maximum(1e-10, centered(x, count or 1 + len(x) // 160, 160, 400, 400, beyond, filters))


def librosa_mfcc(x):
    power = centered(x, 1 + len(x) // 512, 512, 2048, 2048, zeros, slaney(128, 2048, 22050))
    db = 10 * np.log10(np.maximum(1e-10, power))
    return dct(np.maximum(db, db.max() - 80), 20)


def whisper(x, num_mels):
    log = np.log10(librosa_like(x, reflected, len(x) // 160, num_mels))
    return (np.maximum(log, log.max() - 8) + 4) / 4


def torchaudio(x):
    edges = htk_hz(np.linspace(0, htk_mel(8000), 82))
    return np.log(librosa_like(x, reflected, filters=triangles(np.arange(201) * 40.0, edges)))


def nemo(x):
    y = emphasised(x)
    return np.log(centered(y, len(x) // 160, 160, 400, 512, zeros, slaney(80, 512, 16000), True) + 2.0**-24)


def espnet(x):
    power = centered(x, 1 + len(x) // 128, 128, 512, 512, reflected, slaney(80, 512, 16000))
    return np.log(np.maximum(power, 1e-10))


def psf(x):
    """base.py: log energies, and the logarithm of the whole power spectrum."""
    y = emphasised(x * 32768)
    count = 1 if len(y) <= 400 else 1 + int(np.ceil((len(y) - 400) / 160))
    power = [np.abs(np.fft.rfft(f, 512)) ** 2 / 512 for f in frames(y, range(0, count * 160, 160), 400)]
    bins = np.floor(513 * htk_hz(np.linspace(0, htk_mel(8000), 28)) / 16000)
    filters = np.zeros((257, 26))
    for j in range(26):
        for i in range(int(bins[j]), int(bins[j + 1])):
            filters[i, j] = (i - bins[j]) / (bins[j + 1] - bins[j])
        for i in range(int(bins[j + 1]), int(bins[j + 2])):
            filters[i, j] = (bins[j + 2] - i) / (bins[j + 2] - bins[j + 1])
    energies, totals = np.array(power) @ filters, np.sum(power, axis=1)
    epsilon = np.finfo(float).eps
    return np.log(np.where(energies == 0, epsilon, energies)), np.log(np.where(totals == 0, epsilon, totals))


def psf_mfcc(x):
    log_mel, total = psf(x)
    cepstra = lifted(dct(log_mel, 13))
    cepstra[:, 0] = total
    return cepstra


RECIPES = {
    "kaldi-80": lambda x: kaldi(x, num_mels=80),
    "kaldi-40": lambda x: kaldi(x, num_mels=40),
    "kaldi-23": lambda x: kaldi(x, num_mels=23),
    "kaldi-80-unit": lambda x: kaldi(x, num_mels=80, scale=1.0),
    "icefall-80": lambda x: kaldi(x, num_mels=80, scale=1.0, high=7600.0, snip=False),
    "kaldi-mfcc-13": kaldi_mfcc_13,
    "kaldi-mfcc-40": lambda x: lifted(dct(kaldi(x, num_mels=40, high=7600.0), 40)),
    "htk-26": htk,
    "htk-mfcc-13": htk_mfcc,
    "tensorflow-80": tensorflow,
    "tensorflow-mfcc-13": lambda x: dct(tensorflow(x), 13) * np.where(np.arange(13) == 0, np.sqrt(2), 1),
    "tensorflow-spectrogram-257": lambda x: np.log(stft(x, 320, 160, 512) + 1e-12),
    "tensorflow-asr-80": lambda x: np.log(
        stft(emphasised(x), 400, 160, 512, pad_end=True) @ tensorflow_mel(0, 8000) + 1e-6
    ),
    "librosa-80": lambda x: np.log(librosa_like(x, zeros)),
    "librosa-mfcc-20": librosa_mfcc,
    "whisper-80": lambda x: whisper(x, 80),
    "whisper-128": lambda x: whisper(x, 128),
    "torchaudio-80": torchaudio,
    "nemo-80": nemo,
    "espnet-80": espnet,
    "psf-26": lambda x: psf(x)[0],
    "psf-mfcc-13": psf_mfcc,
}


def recipe_of(preset):
    return preset.mel if isinstance(preset, Mfcc) else preset


def in_double(preset):
    if isinstance(preset, Mfcc):
        return dataclasses.replace(preset, mel=in_double(preset.mel))
    return dataclasses.replace(preset, dtype="float64")


def test_every_preset_has_its_recipe_here():
    assert list(RECIPES) == list(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_recipe(name):
    samples = voice(8765, PRESETS[name].sample_rate)
    expected = RECIPES[name](samples.astype(np.float64))
    double = in_double(PRESETS[name])(samples)
    assert double.dtype == np.float64 and double.shape == expected.shape
    # Bins that are nearly nothing but rounding, beside others: 1e-6 in their logarithm.
    assert np.abs(double - expected).max() < 1e-6
    single = PRESETS[name](samples)
    assert single.dtype == np.float32 and single.shape == expected.shape
    difference = np.abs(single - expected)
    assert difference.mean() < (1e-4 if isinstance(PRESETS[name], Mfcc) else 3e-5)  # cepstra are in tens
    assert np.quantile(difference, 0.999) < 2e-3
    assert difference.max() < 5e-2


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if recipe_of(preset).framing != "snip"])
@pytest.mark.parametrize("count", [161, 250, 401])
def test_a_preset_of_a_signal_no_longer_than_a_frame_is_the_recipe(name, count):
    samples = voice(2 * count, PRESETS[name].sample_rate)[:count]  # without the silence in the middle
    expected = RECIPES[name](samples.astype(np.float64))
    got = in_double(PRESETS[name])(samples)
    assert got.shape == expected.shape and len(got) > 0
    assert np.abs(got - expected).max() < 1e-6


@pytest.mark.parametrize("length, size", [(401, 512), (401, 401), (400, 513)])
@pytest.mark.parametrize("framing, beyond", [("center", zeros), ("reflect", reflected)])
def test_odd_lengths_lie_as_in_librosa_and_torch(length, size, framing, beyond):
    preset = dataclasses.replace(
        PRESETS["librosa-80"],
        frame_length_ms=length / 16,
        fft_length=size,
        framing=framing,
        num_mels=40,
        dtype="float64",
    )
    samples = voice(2000)
    expected = centered(samples.astype(np.float64), 13, 160, length, size, beyond, slaney(40, size, 16000))
    assert np.abs(preset(samples) - np.log(np.maximum(1e-10, expected))).max() < 1e-6


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_the_laws_of_a_front_end(name):
    check_frontend(PRESETS[name])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if isinstance(preset, LogMel)])
def test_presets_at_another_rate(name, rate):
    recipe = dataclasses.replace(PRESETS[name], sample_rate=rate, num_mels=23, high_hz=None, fft_length=None)
    features = recipe(voice(rate // 4, rate))
    assert features.shape == (recipe.num_frames(rate // 4), 23)
    assert np.isfinite(features).all()


def test_a_name_is_its_constant_and_tells_the_features():
    for name, preset in PRESETS.items():
        assert getattr(presets, name.upper().replace("-", "_")) is preset
        assert str(preset.dim) in name.split("-")


def test_lengths_in_samples_can_be_asked_for():
    mel = PRESETS["librosa-mfcc-20"].mel
    assert (mel.frame_length, mel.frame_shift, mel.fft_size) == (2048, 512, 2048)
