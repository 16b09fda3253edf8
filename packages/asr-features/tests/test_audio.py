import struct
import sys
import wave

import numpy as np
import pytest
import soundfile

from asr_features import AudioInfo, info, read, resample

RATE = 16000


def tone(count=8000, channels=1):
    time = np.arange(count) / RATE
    tones = np.stack([0.5 * np.sin(2 * np.pi * hz * time) for hz in (440, 660, 880)[:channels]], axis=1)
    return (tones[:, 0] if channels == 1 else tones).astype(np.float32)


@pytest.mark.parametrize("subtype, step", [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23)])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_integer_wav_is_what_soundfile_reads(tmp_path, monkeypatch, subtype, step, channels):
    path, samples = tmp_path / "a.wav", tone(channels=channels)
    soundfile.write(path, samples, RATE, subtype=subtype)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    monkeypatch.setitem(sys.modules, "soundfile", None)  # ours reads it alone
    got = read(path)
    assert got.dtype == np.float32 and got.shape == (8000,)
    assert np.array_equal(got, expected)
    assert np.abs(got - samples.reshape(8000, -1).mean(axis=1)).max() <= 1.5 * step
    assert info(path) == AudioInfo(sample_rate=RATE, samples=8000, channels=channels)


@pytest.mark.parametrize("subtype", ["PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_wide_wav_is_what_was_written(tmp_path, monkeypatch, subtype, form):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), RATE, subtype=subtype, format=form)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert np.allclose(read(path), tone(), atol=1e-9)
    assert info(path).samples == 8000


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.flac", {}),
        ("a.ogg", {}),
        ("a.mp3", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.aiff", {}),
        ("a.wav", {"subtype": "ULAW"}),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_other_formats(tmp_path, name, options, channels):
    path, samples = tmp_path / name, tone(channels=channels)
    soundfile.write(path, samples, RATE, **options)
    got = read(path)
    expected = samples.reshape(8000, -1).mean(axis=1)
    assert got.dtype == np.float32 and abs(len(got) - 8000) < 2000
    aligned = max(np.corrcoef(np.roll(got, -lag)[:6000], expected[:6000])[0, 1] for lag in range(0, 1300))
    assert aligned > 0.99  # lossy codecs delay and change a little
    if name != "a.mp3" and "opus" not in name and "ogg" not in name:
        assert np.abs(got - expected).max() < 0.02
    found = info(path)
    assert (found.sample_rate, found.channels, found.samples) == (RATE, channels, len(got))
    assert found.seconds == len(got) / RATE


def test_resampled_to_the_rate_that_is_asked_for(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE, subtype="PCM_24")
    got = read(path, sample_rate=8000)
    assert np.array_equal(got, resample(read(path), RATE, 8000))
    assert got.shape == (4000,)
    with pytest.raises(ValueError, match="sample_rate: expected a positive int, got 0"):
        read(path, sample_rate=0)


@pytest.mark.parametrize("suffix", [".pcm", ".raw", ".PCM"])
@pytest.mark.parametrize("odd", [b"", b"\x01"])
def test_headerless_pcm(tmp_path, suffix, odd):
    path = tmp_path / f"a{suffix}"
    values = np.array([0, 1, -1, 32767, -32768, 256], "<i2")
    path.write_bytes(values.tobytes() + odd)
    assert np.array_equal(read(path), values.astype(np.float32) / 32768)
    assert info(path) == AudioInfo(sample_rate=16000, samples=6, channels=1)
    assert info(path, pcm_rate=8000).seconds == 6 / 8000
    assert read(path, pcm_rate=8000, sample_rate=16000).shape == (12,)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_header_is_believed_before_the_name(tmp_path, form):
    path = tmp_path / "a.pcm"
    soundfile.write(path, tone(), 8000, format=form, subtype="PCM_16")
    assert info(path).sample_rate == 8000
    assert np.abs(read(path) - tone()).max() < 1e-4


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


FORM = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))


def test_wav_with_other_chunks_before_and_after(tmp_path):
    path = tmp_path / "a.wav"
    data = np.arange(-50, 50, dtype="<i2")
    before = (chunk(b"LIST", b"odd"), FORM, chunk(b"fact", b"1234"))
    path.write_bytes(riff(*before, chunk(b"data", data.tobytes()), chunk(b"id3 ", b"xyz")))
    assert np.array_equal(read(path) * 32768, data)
    assert info(path).samples == 100


@pytest.mark.parametrize("told", [0xFFFFFFFF, 0x7FFFFFFF - 36])
def test_wav_from_a_pipe_is_read_to_its_end(tmp_path, told):
    path = tmp_path / "a.wav"
    data = np.arange(-50, 50, dtype="<i2").tobytes()
    path.write_bytes(riff(FORM) + b"data" + struct.pack("<I", told) + data)
    assert info(path).samples == 100
    assert len(read(path)) == 100


def test_what_passes_full_scale_is_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", 3 * tone(), RATE, subtype="FLOAT")
    assert np.array_equal(read(tmp_path / "a.wav"), np.clip(3 * tone(), -1, 1))


def refuse(path, kind, message):
    for function in (read, info):
        with pytest.raises(kind) as error:
            function(path)
        assert str(error.value).startswith(f"{path}: {message}"), error.value
        assert "\n" not in str(error.value)


def test_paths_that_are_no_audio_are_refused_in_one_line(tmp_path):
    refuse(tmp_path / "none.wav", FileNotFoundError, "there is no such audio file")
    refuse(tmp_path, ValueError, "expected an audio file, got a directory")
    for name in ("a.wav", "a.flac", "a.pcm"):
        (tmp_path / name).write_bytes(b"")
        refuse(tmp_path / name, ValueError, "the file is empty; expected audio")
    (tmp_path / "a.txt").write_text("hello " * 99)
    refuse(tmp_path / "a.txt", ValueError, "this cannot be read as audio (Format not recognised)")
    (tmp_path / "one.pcm").write_bytes(b"\1")
    refuse(tmp_path / "one.pcm", ValueError, "the file holds no samples")
    soundfile.write(tmp_path / "zero.wav", np.zeros(0), RATE)
    refuse(tmp_path / "zero.wav", ValueError, "the file holds no samples")
    (tmp_path / "bare.wav").write_bytes(riff(FORM))
    refuse(tmp_path / "bare.wav", ValueError, "the file is broken: RIFF without the chunks 'fmt ' and 'data'")


def test_files_cut_short_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    cut = tmp_path / "cut.wav"
    cut.write_bytes((tmp_path / "a.wav").read_bytes()[:9000])
    refuse(cut, ValueError, "the file is cut short: the header tells of 16000 bytes, it holds 8956")
    soundfile.write(tmp_path / "a.flac", tone(40000), RATE)
    cut = tmp_path / "cut.flac"
    cut.write_bytes((tmp_path / "a.flac").read_bytes()[:20000])
    with pytest.raises(ValueError, match=r"cut\.flac: (the file is cut short|this cannot be read)"):
        read(cut)


def test_flac_of_unknown_length_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO that hold the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    refuse(path, ValueError, "the header does not tell how long the file is")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_samples_are_refused(tmp_path, value):
    samples = tone()
    samples[77] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="the samples hold NaN or infinity"):
        read(tmp_path / "a.wav")


def test_floats_on_the_scale_of_integers_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", 20000 * tone(), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"the samples reach .*; expected floats in \[-1, 1\]"):
        read(tmp_path / "a.wav")


def test_without_soundfile_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(), RATE)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    refuse(path, ImportError, "reading this file needs soundfile: pip install 'asr-features[audio]'")


def test_the_standard_library_s_wav_is_read(tmp_path):
    values = np.array([0, 1000, -32768], "<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", "NONE"))
        file.writeframes(values.tobytes())
    assert np.array_equal(read(str(tmp_path / "a.wav")), values.astype(np.float32) / 32768)
