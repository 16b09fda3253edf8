import os
import struct
import sys
import tracemalloc
import wave

import numpy as np
import pytest
import soundfile

from asr_features import AudioInfo, blocks, info, read, resample

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
    for function in (read, info, lambda path: list(blocks(path))):
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


KINDS = [
    ("a.wav", {}),
    ("a24.wav", {"subtype": "PCM_24"}),
    ("double.wav", {"subtype": "DOUBLE"}),
    ("extensible.wav", {"format": "WAVEX"}),
    ("ulaw.wav", {"subtype": "ULAW"}),
    ("ima.wav", {"subtype": "IMA_ADPCM"}),
    ("a.flac", {}),
    ("a24.flac", {"subtype": "PCM_24"}),
    ("a.ogg", {}),
    ("opus.ogg", {"subtype": "OPUS"}),
    ("a.mp3", {}),
    ("a.aiff", {}),
    ("a.pcm", {"format": "RAW", "subtype": "PCM_16"}),
]
CHANNELS = 2


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Every kind of file, with 20 s of what no codec finds easy, longer than any buffer of the decoders."""
    folder = tmp_path_factory.mktemp("recordings")
    noise = np.random.default_rng(0).standard_normal((20 * RATE + 77, CHANNELS))
    for name, options in KINDS:
        channels = noise[:, :1] if name == "a.pcm" else noise
        soundfile.write(folder / name, 0.1 * channels, RATE, **options)
    return folder


@pytest.mark.parametrize("name", [name for name, _ in KINDS])
def test_a_range_is_a_slice_of_the_whole(recordings, name):
    path = recordings / name
    whole = read(path)
    assert len(whole) >= 20 * RATE
    for first, last in ((0, 1), (1, 5000), (12345, 12346), (160000, 250001), (len(whole) - 3, len(whole))):
        part = read(path, start=first / RATE, stop=last / RATE)
        assert np.array_equal(part, whole[first:last]), (first, last)
    assert np.array_equal(read(path, start=11.5), whole[184000:])
    assert np.array_equal(read(path, start=19, stop=1e300), whole[19 * RATE :])
    got = read(path, sample_rate=11025, start=3, stop=4)
    assert np.array_equal(got, np.clip(resample(whole[3 * RATE : 4 * RATE], RATE, 11025), -1, 1))


@pytest.mark.parametrize("name", [name for name, _ in KINDS])
def test_blocks_are_what_is_read(recordings, name):
    path = recordings / name
    for options in ({}, {"sample_rate": 22050, "start": 1.5, "stop": 17.25}):
        rate, whole = options.get("sample_rate", RATE), read(path, **options)
        for seconds in (0.3, 7.0, 100.0):
            got = list(blocks(path, seconds=seconds, **options))
            assert np.array_equal(np.concatenate(got), whole)
            assert {len(block) for block in got[:-1]} <= {round(seconds * rate)}
            assert 0 < len(got[-1]) <= round(seconds * rate)


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "opus.ogg", "a.mp3"])
def test_pieces_are_what_one_call_of_the_decoder_gives(recordings, name):
    with soundfile.SoundFile(recordings / name) as file:
        expected = file.read(dtype="float32").mean(axis=1)
    assert np.array_equal(read(recordings / name), np.clip(expected, -1, 1))


def test_seconds_become_samples_as_python_rounds(tmp_path):
    values = np.arange(100, dtype="<i2")
    (tmp_path / "a.pcm").write_bytes(values.tobytes())
    for start, stop, expected in ((2.5, 3.5, [2, 3]), (1.5, 2.5, []), (1.4, 1.6, [1]), (98.5, 98.6, [98])):
        options = {"pcm_rate": 1024, "start": start / 1024, "stop": stop / 1024}  # exact in binary
        if expected:
            assert (read(tmp_path / "a.pcm", **options) * 32768).tolist() == expected
        else:
            with pytest.raises(ValueError, match=r"a\.pcm: the range from .* s to .* s holds no samples"):
                read(tmp_path / "a.pcm", **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"start": 0.5}, r"a\.wav: start: 0\.5 s is beyond the end: the file lasts 0\.5 s"),
        ({"start": 1e300}, r"start: 1e\+300 s is beyond the end"),
        ({"start": -1}, "start: expected a finite number of at least 0, got -1"),
        ({"start": float("nan")}, "start: expected a finite number of at least 0, got nan"),
        ({"start": 0.3, "stop": 0.3}, r"stop: expected more than the start, 0\.3 s, got 0\.3 s"),
        ({"stop": float("inf")}, "stop: expected a finite number of at least 0, got inf"),
        ({"start": 0.49999}, r"the range from 0\.49999 s to 0\.5 s holds no samples"),
    ],
)
def test_ranges_that_are_none_are_refused(tmp_path, options, message):
    soundfile.write(tmp_path / "a.wav", tone(), RATE)
    for function in (read, lambda path, **options: list(blocks(path, **options))):
        with pytest.raises(ValueError, match=message):
            function(tmp_path / "a.wav", **options)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "10"])
def test_blocks_check_their_arguments_when_they_are_called(seconds):
    with pytest.raises(ValueError, match=r"seconds: expected a finite number of at least 0\.001"):
        blocks("none.wav", seconds=seconds)


def long_wav(path, hours, rate=RATE):
    """A silent file that takes no space on the disk."""
    size = int(hours * 3600 * rate) * 2
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))
    path.write_bytes(riff(form) + b"data" + struct.pack("<I", size))
    os.truncate(path, path.stat().st_size + size)


def peak(call):
    tracemalloc.start()
    result = call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, most


@pytest.mark.parametrize("sample_rate, rate", [(None, RATE), (RATE, 48000), (RATE, 44100)])
def test_reading_takes_little_more_memory_than_the_samples(tmp_path, sample_rate, rate):
    long_wav(tmp_path / "a.wav", 0.1, rate)
    samples, most = peak(lambda: read(tmp_path / "a.wav", sample_rate=sample_rate))
    assert len(samples) == 360 * RATE
    assert most < samples.nbytes + 8e6


def test_blocks_take_the_memory_of_a_few(tmp_path):
    long_wav(tmp_path / "a.wav", 2)
    count, most = peak(lambda: sum(len(block) for block in blocks(tmp_path / "a.wav", seconds=10)))
    assert count == 2 * 3600 * RATE
    assert most < 12e6


def test_memory_is_never_a_header_s_word(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(), RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xff"  # 2^36 - 1 samples
    (tmp_path / "a.flac").write_bytes(content)
    assert info(tmp_path / "a.flac").samples == 2**36 - 1

    def attempt():
        with pytest.raises(ValueError, match="a.flac: (the file is cut short|this cannot be read as audio)"):
            read(tmp_path / "a.flac")

    assert peak(attempt)[1] < 32e6


def test_a_file_may_hold_more_than_is_likely(tmp_path):
    silence = np.zeros(5_000_000, np.int16)
    silence[-1] = 16384
    soundfile.write(tmp_path / "a.flac", silence, RATE)
    assert 64 * (tmp_path / "a.flac").stat().st_size < len(silence)
    assert np.array_equal(read(tmp_path / "a.flac") * 32768, silence)


def broken(tmp_path, channels=1, rate=RATE, frame=2, data=bytes(200)):
    path = tmp_path / "broken.wav"
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, channels, rate, 2, frame, 16))
    path.write_bytes(riff(form, chunk(b"data", data)))
    return path


@pytest.mark.parametrize("channels, rate", [(0, RATE), (1, 0)])
def test_headers_with_zeros_are_refused(tmp_path, monkeypatch, channels, rate):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    told = f"the file is broken: its header tells of {channels} channels at {rate} Hz"
    refuse(broken(tmp_path, channels, rate), ValueError, told)


@pytest.mark.parametrize("rate", [1, 999, 768001, 2**32 - 1])
def test_rates_that_no_sound_has_are_refused(tmp_path, rate):
    refuse(broken(tmp_path, rate=rate), ValueError, f"expected a sample rate from 1000 to 768000 Hz, got {rate}")


def test_very_many_channels_are_read_a_few_samples_at_a_time(tmp_path):
    many = 30000
    data = np.repeat(np.arange(400, dtype="<i2"), many).tobytes()
    path = broken(tmp_path, channels=many, frame=2 * many, data=data)
    samples, most = peak(lambda: read(path))
    assert np.allclose(samples * 32768, np.arange(400), atol=1e-3)
    assert most < 8e6


def test_sizes_of_chunks_are_not_believed(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 2**32 - 1) + FORM[8:] + bytes(100))
    _, most = peak(lambda: refuse(path, ValueError, "the file is broken: RIFF without the chunks 'fmt ' and 'data'"))
    assert most < 1e6
    data = chunk(b"data", bytes(10))
    path.write_bytes(riff(FORM, bytes(8) * 900, data))  # a few hundred empty chunks are looked through
    assert len(read(path)) == 5
    path.write_bytes(riff(FORM, bytes(8) * 1100, data))  # not millions
    refuse(path, ValueError, "the file is broken: RIFF without the chunks 'fmt ' and 'data'")
    path.write_bytes(riff(chunk(b"fmt ", b"short"), chunk(b"data", bytes(10))))
    refuse(path, ValueError, "the file is broken: its chunk 'fmt ' has 5 bytes, expected 16 or more")


def test_what_is_wrong_late_is_told_when_it_is_reached(tmp_path):
    samples = np.tile(tone(), 100)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    sound = read(tmp_path / "a.wav", stop=49)
    iterator = blocks(tmp_path / "a.wav", seconds=1)
    assert np.array_equal(next(iterator), sound[:RATE])
    with pytest.raises(ValueError, match="the samples hold NaN or infinity"):
        list(iterator)


def test_doubles_beyond_single_precision_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0, 1e300, 0]), RATE, subtype="DOUBLE")
    with pytest.raises(ValueError, match="the samples hold NaN or infinity"):
        read(tmp_path / "a.wav")


def test_a_name_that_soundfile_misreads_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(), RATE)
    os.rename(tmp_path / "a.flac", tmp_path / "a.raw")
    refuse(
        tmp_path / "a.raw", ValueError, "a .raw file has no header, or that of plain wav; name this one by its format"
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    refuse(tmp_path / "a.wav", ValueError, "expected an audio file, got a device")


def test_a_range_of_a_file_whose_samples_begin_within_its_header(tmp_path):
    path = tmp_path / "a.au"
    samples = np.arange(1000, dtype=">i2").tobytes()
    path.write_bytes(b".snd" + struct.pack(">IIIII", 16, len(samples), 3, RATE, 1) + samples)
    assert np.array_equal(read(path, start=400 / RATE), read(path)[400:])
