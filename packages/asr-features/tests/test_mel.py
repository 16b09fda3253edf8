import numpy as np
import pytest
import scipy.fft

from asr_features.banded import GROUP, products, split
from asr_features.mel import FILTERS, cosines, hz_to_mel, mel_filters, mel_to_hz


def multiply(rows, bands, out):
    for product in products(rows, bands, out):
        product()


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


def test_htk_triangles_are_straight_in_hz_and_as_high_as_one():
    got = mel_filters(
        "htk", num_mels=20, fft_length=16000, sample_rate=16000, low_hz=100, high_hz=7000
    )  # a bin a hertz
    edges = mel_to_hz(np.linspace(hz_to_mel(100), hz_to_mel(7000), 22))
    for m in range(20):
        left, center, right = edges[m : m + 3]
        assert got[:, m].max() > 1 - 1 / (center - left)
        assert got[round((left + center) / 2), m] == pytest.approx(0.5, abs=1 / (center - left))
        assert got[round((center + right) / 2), m] == pytest.approx(0.5, abs=1 / (right - center))
        assert not got[: int(left), m].any() and not got[int(right) + 1 :, m].any()


@pytest.mark.parametrize("rate, mels, size", [(16000, 26, 512), (8000, 20, 256), (16000, 80, 1024)])
def test_psf_filters_are_those_of_its_loops(rate, mels, size):
    edges = np.floor((size + 1) * mel_to_hz(np.linspace(0, hz_to_mel(rate / 2), mels + 2)) / rate)
    expected = np.zeros((size // 2 + 1, mels))
    for j in range(mels):
        for i in range(int(edges[j]), int(edges[j + 1])):
            expected[i, j] = (i - edges[j]) / (edges[j + 1] - edges[j])
        for i in range(int(edges[j + 1]), int(edges[j + 2])):
            expected[i, j] = (edges[j + 2] - i) / (edges[j + 2] - edges[j + 1])
    got = mel_filters("psf", num_mels=mels, fft_length=size, sample_rate=rate, dtype="float64")
    assert np.allclose(got * size, expected)


@pytest.mark.parametrize("kind", FILTERS)
def test_double_precision_is_the_same_matrix(kind):
    options = {"num_mels": 40, "fft_length": 512, "sample_rate": 16000, "low_hz": 20}
    single, double = mel_filters(kind, **options), mel_filters(kind, **options, dtype="float64")
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    assert np.abs(single - double).max() < 1e-4 and (single != double).any()
    with pytest.raises(ValueError, match="dtype: expected one of float32, float64, got 'float16'"):
        mel_filters(kind, **options, dtype="float16")


def test_cosines_are_the_transform_of_scipy_and_lifted():
    rows = np.random.default_rng(0).standard_normal((5, 23))
    expected = scipy.fft.dct(rows, norm="ortho")[:, :13]
    assert np.allclose(rows @ cosines(23, 13), expected)
    htk = scipy.fft.dct(rows)[:, :13] * np.sqrt(2 / 23) / 2
    assert np.allclose(rows @ cosines(23, 13, kind="htk"), htk)
    lift = [1 + 11 * np.sin(np.pi * k / 22) for k in range(13)]
    assert np.allclose(rows @ cosines(23, 13, lifter=22), expected * lift)
    with pytest.raises(ValueError, match="kind: expected one of ortho, htk, got 'dst'"):
        cosines(23, 13, kind="dst")


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


@pytest.mark.parametrize("rows", [16, 128, 256])
@pytest.mark.parametrize("size", [512, 4096])
def test_bands_multiply_as_the_matrix_does(size, rows):
    matrix = mel_filters("slaney", num_mels=80, fft_length=size, sample_rate=16000)
    given = np.random.default_rng(0).random((rows, size // 2 + 1)).astype(np.float32)
    out = np.empty((rows, 80), np.float32)
    bands = split(matrix, rows)
    multiply(given, bands, out)
    assert np.allclose(out, given.astype(np.float64) @ matrix, rtol=1e-5)
    assert sum(band.stop - band.start for band in bands) == 80
    assert max(band.weights.size for band in bands) * rows <= 2**18


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mels", [1, 15, 23, 80])
def test_a_row_is_the_same_wherever_it_is(mels, dtype):
    matrix = mel_filters("slaney", num_mels=mels, fft_length=400, sample_rate=16000, dtype=dtype)
    rows = np.random.default_rng(0).random((480, 201)).astype(dtype)
    bands = split(matrix, 240)
    whole = np.empty((240, mels), dtype)
    multiply(rows[:240], bands, whole)
    for first in (0, 1, 2, 3, 5, 8, 13, 24, 100):
        for count in (GROUP, 2 * GROUP):
            part = np.empty((count, mels), dtype)
            multiply(rows[first : first + count].copy(), bands, part)
            assert np.array_equal(part, whole[first : first + count])
