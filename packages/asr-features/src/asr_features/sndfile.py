"""Audio files that need libsndfile: the only file here that imports soundfile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .interfaces import Floats
from .wav import PIECE

UNKNOWN = 2**40
"""libsndfile tells of more samples than this when the header does not tell their number."""

SEEKABLE = ("WAV", "WAVEX", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC")
SAMPLEWISE = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
"""Formats and codings in which a seek gives the very samples; elsewhere what comes depends on what came before."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file as a `soundfile.SoundFile`; libsndfile's errors become ValueErrors."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the module is there, libsndfile is not
        raise ImportError(f"{path}: reading this file needs soundfile: pip install 'asr-features[audio]'") from None
    if path.suffix.lower() == ".raw":  # soundfile takes the name for a lack of headers
        raise ValueError(f"{path}: a .raw file has no header, or that of plain wav; name this one by its format")
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


def pieces(file: Any, first: int, last: int) -> Iterator[Floats]:
    """The samples `first:last`, `(n, channels)` float32 at a time, fewer if the file ends.

    A piece is overwritten by the next. Nothing depends on how the file is cut into pieces, and ranges are
    slices of the whole, bit for bit.
    """
    position = 0
    begins = file.format in SEEKABLE and file.subtype in SAMPLEWISE and file.seekable()
    # To 0 too: where a header is broken, reading may begin elsewhere. But a flac that is may let no one seek.
    if begins and (first or file.format != "FLAC"):
        position = file.seek(first)
    # After every read soundfile seeks to where the file already is, which makes an mp3 decoder forget the bits
    # that it keeps for the next frame; it does not where it cannot.
    file.seekable = lambda: False
    buffer = np.empty((max(1, PIECE // file.channels), file.channels), np.float32)
    while position < last:
        piece = file.read(out=buffer[: last - position])
        if not len(piece):
            return
        yield piece[max(0, first - position) :]
        position += len(piece)
