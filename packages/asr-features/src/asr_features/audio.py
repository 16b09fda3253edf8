"""Audio files to samples: wav, flac, mp3, ogg, opus, and headerless 16-bit PCM; whole, in ranges, in blocks."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import checks, sndfile, wav
from .interfaces import Floats
from .resampling import Resample

HEADERLESS = (".pcm", ".raw")
"""Suffixes of files that are nothing but 16-bit little-endian samples of one channel."""

LOUDEST = 8.0
"""Decoders of lossy codecs pass full scale by a little; floats beyond this are on another scale."""

SLOWEST, FASTEST = 1000, 768000
"""Rates in Hz that files may have; a header that tells of others is broken."""

PACKED = 64
"""Samples that a byte of a file may well hold. More is believed only as it is read: memory is never a header's word."""


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """What the header of an audio file tells."""

    sample_rate: int
    """Hz, of the file."""
    samples: int
    """Per channel."""
    channels: int

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.samples / self.sample_rate


def read(
    path: str | PathLike[str],
    *,
    sample_rate: int | None = None,
    pcm_rate: int = 16000,
    start: float = 0.0,
    stop: float | None = None,
) -> Floats:
    """The samples of an audio file: `(N,)` float32 in [-1, 1], the mean of its channels.

    They are resampled to `sample_rate` Hz when it is given, else they are at the file's own rate.

    `start` and `stop` are seconds: of a file at rate r, the samples round(start * r) up to, and without,
    round(stop * r), as Python rounds; the range is then resampled as if nothing were around it. A stop beyond
    the end reads to the end. Where a codec lets no decoder begin in the middle (mp3, ogg, opus), the file is
    decoded from its beginning, so that a range always is a slice of the whole.

    Plain wav needs numpy alone; flac, mp3, ogg, opus and other codings need the extra `audio`. A file named
    .pcm or .raw without an audio header is 16-bit little-endian PCM at `pcm_rate`; an odd last byte is
    dropped (KsponSpeech has such files). What passes full scale, by a lossy codec or by resampling, is
    clipped. Memory is that of the result and little more: `blocks` reads what is too long for it.

    Raises FileNotFoundError; ImportError when soundfile is needed and missing; ValueError when the path is a
    directory or the file is empty, not audio, cut short, without samples, at a rate outside 1000 to 768000
    Hz, or holds NaN, infinities or floats that are not in [-1, 1], and when the range is none or begins
    beyond the end.
    """
    _check(sample_rate, start, stop)
    with _opened(path, pcm_rate) as audio:
        first, last = _range(audio, start, stop)
        likely = max(2**22, PACKED * audio.path.stat().st_size)
        result = np.empty(_resampler(audio, sample_rate).num_samples(min(last - first, likely)), np.float32)
        filled = 0
        for piece in _mono(audio, first, last, sample_rate):
            while filled + len(piece) > len(result):
                result = np.concatenate([result, np.empty_like(result)])
            result[filled : filled + len(piece)] = piece
            filled += len(piece)
    return result[:filled]


def blocks(
    path: str | PathLike[str],
    *,
    seconds: float = 10.0,
    sample_rate: int | None = None,
    pcm_rate: int = 16000,
    start: float = 0.0,
    stop: float | None = None,
) -> Iterator[Floats]:
    """What `read` gives, in consecutive blocks `(n,)` of `seconds`: concatenated they equal it, bit for bit.

    All blocks but the last have round(seconds * rate) samples. However long the file is, no more than a few
    blocks are in memory. Raises as `read` does, but for what is wrong within the samples only when it gets
    there; the file is opened when the first block is asked for.
    """
    _check(sample_rate, start, stop)
    checks.at_least("seconds", seconds, 0.001)
    return _blocks(path, seconds, sample_rate, pcm_rate, start, stop)


def info(path: str | PathLike[str], *, pcm_rate: int = 16000) -> AudioInfo:
    """The rate, length and channels of an audio file, from its header alone. Raises as `read` does."""
    with _opened(path, pcm_rate) as audio:
        return audio.info


class _Audio(NamedTuple):
    path: Path
    info: AudioInfo
    pieces: Callable[[int, int], Iterator[Floats]]
    """The samples from the first to before the last, `(n, channels)` at a time, fewer if the file ends."""


@contextmanager
def _opened(name: str | PathLike[str], pcm_rate: int) -> Iterator[_Audio]:
    """The file, by numpy if that can read it, else by libsndfile."""
    checks.positive_int("pcm_rate", pcm_rate)
    path = Path(name)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: expected an audio file, got {'a directory' if path.is_dir() else 'a device'}")
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such audio file") from None
    if not start:
        raise ValueError(f"{path}: the file is empty; expected audio")
    header = None
    if start[:4] == b"RIFF" and start[8:] == b"WAVE":
        header = wav.read_header(path)
    elif path.suffix.lower() in HEADERLESS and start[:4] not in (b"fLaC", b"OggS"):
        header = wav.Header(wav.PCM, 2, 1, pcm_rate, path.stat().st_size // 2, 0)
    if header:
        found = AudioInfo(sample_rate=header.sample_rate, samples=header.samples, channels=header.channels)
        yield _checked(_Audio(path, found, partial(wav.pieces, path, header)))
    else:
        with sndfile.opened(path) as file:
            found = AudioInfo(sample_rate=file.samplerate, samples=file.frames, channels=file.channels)
            yield _checked(_Audio(path, found, partial(sndfile.pieces, file)))


def _checked(audio: _Audio) -> _Audio:
    if audio.info.samples < 1:
        raise ValueError(f"{audio.path}: the file holds no samples")
    if not SLOWEST <= audio.info.sample_rate <= FASTEST:
        raise ValueError(
            f"{audio.path}: expected a sample rate from {SLOWEST} to {FASTEST} Hz, got {audio.info.sample_rate}"
        )
    return audio


def _check(sample_rate: int | None, start: float, stop: float | None) -> None:
    if sample_rate is not None:
        checks.positive_int("sample_rate", sample_rate)
    checks.at_least("start", start, 0)
    if stop is not None:
        checks.at_least("stop", stop, 0)
        if stop <= start:
            raise ValueError(f"stop: expected more than the start, {start:g} s, got {stop:g} s")


def _range(audio: _Audio, start: float, stop: float | None) -> tuple[int, int]:
    """The first sample and the one after the last, at the file's rate."""
    rate, samples, seconds = audio.info.sample_rate, audio.info.samples, audio.info.seconds
    if start >= seconds:
        raise ValueError(f"{audio.path}: start: {start:g} s is beyond the end: the file lasts {seconds:g} s")
    first = round(start * rate)
    last = samples if stop is None or stop >= seconds else round(stop * rate)
    if first >= last:
        raise ValueError(
            f"{audio.path}: the range from {start:g} s to {last / rate if stop is None else stop:g} s holds no samples"
        )
    return first, last


def _resampler(audio: _Audio, sample_rate: int | None) -> Resample:
    rate = audio.info.sample_rate
    return Resample(source_rate=rate, target_rate=rate if sample_rate is None else sample_rate)


def _mono(audio: _Audio, first: int, last: int, sample_rate: int | None) -> Iterator[Floats]:
    """The range, checked, averaged over channels, resampled and clipped, as it is decoded."""
    resampler = _resampler(audio, sample_rate)
    changes = resampler.source_rate != resampler.target_rate
    state = resampler.start()
    done = first
    for channels in audio.pieces(first, last):
        done += len(channels)
        samples = _mean(audio.path, channels)
        if changes:
            state, samples = resampler.step(state, samples)
        yield np.clip(samples, -1, 1)
    if done < last:
        raise ValueError(
            f"{audio.path}: the file is cut short: the header tells of {audio.info.samples} samples, it holds {done}"
        )
    yield np.clip(resampler.finish(state), -1, 1)


def _mean(path: Path, channels: Floats) -> Floats:
    """The mean of the channels of a piece, `(n,)`."""
    if not channels.size:
        return np.empty(0, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # NaN and infinities are told of below
        if channels.shape[1] == 1:
            samples = channels[:, 0]
        elif channels.shape[1] < 8:  # the sums of `mean`, bit for bit, and ten times as fast
            samples = sum(channels.T[1:], channels[:, 0]) / np.float32(channels.shape[1])
        else:
            samples = channels.mean(axis=1)
    peak = max(-float(samples.min()), float(samples.max()))
    if not math.isfinite(peak):
        raise ValueError(f"{path}: the samples hold NaN or infinity; expected floats in [-1, 1]")
    if peak > LOUDEST:
        raise ValueError(
            f"{path}: the samples reach {peak:g}; expected floats in [-1, 1]: divide them by their full scale"
        )
    return samples


def _blocks(
    path: str | PathLike[str],
    seconds: float,
    sample_rate: int | None,
    pcm_rate: int,
    start: float,
    stop: float | None,
) -> Iterator[Floats]:
    with _opened(path, pcm_rate) as audio:
        size = max(1, round(seconds * _resampler(audio, sample_rate).target_rate))
        held: list[Floats] = []
        for piece in _mono(audio, *_range(audio, start, stop), sample_rate):
            held.append(piece)
            if sum(map(len, held)) >= size:
                joined = np.concatenate(held)
                whole = len(joined) // size * size
                yield from np.split(joined[:whole], whole // size)
                held = [joined[whole:]]
        rest = np.concatenate(held)
        if len(rest):
            yield rest
