"""Audio files to samples: wav, flac, mp3, ogg, opus, and headerless 16-bit PCM."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from . import checks, wav
from .interfaces import Floats
from .resample import resample

HEADERLESS = (".pcm", ".raw")
"""Suffixes of files that are nothing but 16-bit little-endian samples of one channel."""

LOUDEST = 8.0
"""Decoders of lossy codecs pass full scale by a little; floats beyond this are on another scale."""

UNKNOWN = 2**40
"""libsndfile tells of more samples than this when the header does not tell their number."""


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


def read(path: str | PathLike[str], *, sample_rate: int | None = None, pcm_rate: int = 16000) -> Floats:
    """The samples of an audio file: `(N,)` float32 in [-1, 1], the mean of its channels.

    They are resampled to `sample_rate` Hz when it is given, else they are at the file's own rate.

    Plain wav needs numpy alone; flac, mp3, ogg, opus and other codings need the extra `audio`. A file named
    .pcm or .raw without an audio header is 16-bit little-endian PCM at `pcm_rate`; an odd last byte is
    dropped (KsponSpeech has such files). What passes full scale, by a lossy codec or by resampling, is
    clipped.

    Raises FileNotFoundError; ImportError when soundfile is needed and missing; ValueError when the path is a
    directory or the file is empty, not audio, cut short, without samples, or holds NaN, infinities or floats
    that are not in [-1, 1].
    """
    if sample_rate is not None:
        checks.positive_int("sample_rate", sample_rate)
    path, header = _open(path, pcm_rate)
    if header is not None:
        rate, channels = header.sample_rate, wav.read_samples(path, header)
    else:
        rate, channels = _decode(path)
    if len(channels) == 0:
        raise ValueError(f"{path}: the file holds no samples")
    samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
    peak = max(-float(samples.min()), float(samples.max()))
    if not np.isfinite(peak):
        raise ValueError(f"{path}: the samples hold NaN or infinity; expected floats in [-1, 1]")
    if peak > LOUDEST:
        raise ValueError(
            f"{path}: the samples reach {peak:g}; expected floats in [-1, 1]: divide them by their full scale"
        )
    if sample_rate is not None:
        samples = resample(samples, rate, sample_rate)
    return np.clip(samples, -1, 1)


def info(path: str | PathLike[str], *, pcm_rate: int = 16000) -> AudioInfo:
    """The rate, length and channels of an audio file, from its header alone. Raises as `read` does."""
    path, header = _open(path, pcm_rate)
    if header is not None:
        found = AudioInfo(sample_rate=header.sample_rate, samples=header.samples, channels=header.channels)
    else:
        with _soundfile(path) as file:
            found = AudioInfo(sample_rate=file.samplerate, samples=file.frames, channels=file.channels)
    if found.samples == 0:
        raise ValueError(f"{path}: the file holds no samples")
    return found


def _open(name: str | PathLike[str], pcm_rate: int) -> tuple[Path, wav.Header | None]:
    """The path, and where its samples are if numpy can read them."""
    path = Path(name)
    checks.positive_int("pcm_rate", pcm_rate)
    if path.is_dir():
        raise ValueError(f"{path}: expected an audio file, got a directory")
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such audio file") from None
    if not start:
        raise ValueError(f"{path}: the file is empty; expected audio")
    if start[:4] == b"RIFF" and start[8:] == b"WAVE":
        return path, wav.read_header(path)
    if path.suffix.lower() in HEADERLESS and start[:4] not in (b"fLaC", b"OggS"):
        return path, wav.Header(wav.PCM, 2, 1, pcm_rate, path.stat().st_size // 2, 0)
    return path, None


def _decode(path: Path) -> tuple[int, Floats]:
    """The rate, and the samples `(N, channels)`, by libsndfile."""
    with _soundfile(path) as file:
        channels = file.read(dtype="float32", always_2d=True)
        if len(channels) < file.frames:
            raise ValueError(
                f"{path}: the file is cut short: the header tells of {file.frames} samples, it holds {len(channels)}"
            )
        return file.samplerate, channels


@contextmanager
def _soundfile(path: Path) -> Iterator[Any]:
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the module is there, libsndfile is not
        raise ImportError(f"{path}: reading this file needs soundfile: pip install 'asr-features[audio]'") from None
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > UNKNOWN:
                raise ValueError(
                    f"{path}: the header does not tell how long the file is, as when written to a pipe; "
                    "encode it anew, into a file"
                )
            yield file
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path}: this cannot be read as audio ({error.error_string.rstrip('.')}); expected "
            "wav, flac, mp3, ogg, opus, or 16-bit samples without a header in a file named .pcm or .raw"
        ) from error
