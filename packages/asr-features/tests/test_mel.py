import numpy as np
import pytest

from asr_features.banded import multiply, split
from asr_features.mel import FILTERS, hz_to_mel, mel_filters, mel_to_hz


def test_known_points_of_the_scales():
    assert hz_to_mel(1000) == pytest.approx(999.99, abs=0.01)  # what the scale was made for
    assert hz_to_mel(700) == pytest.approx(1127 * np.log(2))
    assert np.allclose(hz_to_mel([0, 500, 1000, 6400], "slaney"), [0, 7.5, 15, 42])  # 27 steps to 6.4 times
    with pytest.raises(ValueError, match="scale: expected one of htk, slaney, got 'bark'"):
        hz_to_mel(1, "bark")


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_the_scales_are_inverted(scale):
    hz = np.linspace(0, 8000, 999)
    assert np.allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz)
    assert (np.diff(hz_to_mel(hz, scale)) > 0).all()


@pytest.mark.parametrize("rate, mels, size", [(16000, 80, 512), (16000, 23, 512), (8000, 40, 256)])
def test_kaldi_filters_are_those_of_its_loops(rate, mels, size):
    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    step = (mel(rate / 2) - mel(20)) / (mels + 1)
    expected = np.zeros((size // 2 + 1, mels))
    for m in range(mels):
        left, center, right = (mel(20) + (m + i) * step for i in range(3))
        for k in range(size // 2):
            at = mel(rate / size * k)
            if left < at < right:
                expected[k, m] = (at - left) / step if at <= center else (right - at) / step
    got = mel_filters("kaldi", num_mels=mels, fft_length=size, sample_rate=rate, low_hz=20)
    assert got.shape == expected.shape
    assert np.allclose(got, expected, atol=2e-4)  # single precision moves the points of Kaldi by so much
    assert not got[-1].any()


def test_tensorflow_triangles_sum_to_one_between_the_first_and_last_center():
    got = mel_filters("tensorflow", num_mels=80, fft_length=512, sample_rate=16000, low_hz=80, high_hz=7600)
    edges = mel_to_hz(np.linspace(hz_to_mel(80), hz_to_mel(7600), 82))
    bins = np.arange(257) * 31.25
    inside = (bins >= edges[1]) & (bins <= edges[-2])
    assert np.allclose(got.sum(axis=1)[inside], 1)
    assert not got[(bins <= 80) | (bins >= 7600)].any()
    low = mel_filters("tensorflow", num_mels=20, fft_length=512, sample_rate=16000)
    assert not low[0].any()


def test_slaney_filters_have_area_one_and_their_peak_in_the_middle():
    got = mel_filters("slaney", num_mels=40, fft_length=16000, sample_rate=16000)  # a bin a hertz
    assert np.allclose(got.sum(axis=0), 1, atol=1e-3)
    edges = mel_to_hz(np.linspace(0, hz_to_mel(8000, "slaney"), 42), "slaney")
    assert np.abs(got.argmax(axis=0) - edges[1:-1]).max() <= 1


@pytest.mark.parametrize("kind", FILTERS)
def test_too_many_filters_are_refused(kind):
    with pytest.raises(ValueError, match=r"num_mels: 200 filters are too many for fft_length 256 at 8000 Hz"):
        mel_filters(kind, num_mels=200, fft_length=256, sample_rate=8000)


@pytest.mark.parametrize("low, high", [(-1, None), (4000, 4000), (0, 8001), (9000, None)])
def test_band_edges_are_checked(low, high):
    with pytest.raises(ValueError, match="expected 0 <= low < high <= 8000"):
        mel_filters("kaldi", num_mels=10, fft_length=512, sample_rate=16000, low_hz=low, high_hz=high)


def test_filters_cannot_be_written():
    filters = mel_filters("kaldi", num_mels=23, fft_length=512, sample_rate=16000, low_hz=20)
    with pytest.raises(ValueError):
        filters[0, 0] = 1


@pytest.mark.parametrize("size", [512, 4096])
def test_bands_multiply_as_the_matrix_does(size):
    matrix = mel_filters("slaney", num_mels=80, fft_length=size, sample_rate=16000)
    rows = np.random.default_rng(0).random((128, size // 2 + 1)).astype(np.float32)
    out = np.empty((128, 80), np.float32)
    bands = split(matrix)
    multiply(rows, bands, out)
    assert np.allclose(out, rows.astype(np.float64) @ matrix, rtol=1e-5)
    assert sum(band.stop - band.start for band in bands) == 80
    assert max(band.weights.size for band in bands) * 128 <= 2**18
