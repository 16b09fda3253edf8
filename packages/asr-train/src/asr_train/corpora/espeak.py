"""eSpeak NG by its C interface (espeak-ng/speak_lib.h), from the wheel `espeakng-loader`.

The library keeps its state in static variables, some of which nothing resets: how far pitch has fluttered,
for one. It is loaded anew for every text and unloaded after it, in milliseconds: equal calls, equal samples.
"""

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_train.errors import UserError

# The enumerations and flags of speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7
_BY_CHARACTER = 1
_UTF8 = 1

_RECEIVER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_LOCK = threading.Lock()


def speak(
    text: str, language: str, variant: str, *, rate: int, pitch: int, range: int, gap: int, volume: int
) -> tuple[NDArray[np.int16], int]:
    """The samples `(N,)` of a text, none where there is nothing to say, and their rate in Hz.

    Threads wait for one another. Nothing else in the process may use the same library file meanwhile.

    Args:
        text: without zero bytes.
        language, variant: of a voice, as in `espeak-ng -v language+variant`; the variant may be empty.
        rate: words a minute.
        pitch, range, volume: on eSpeak NG's scales; 50, 50 and 100 are what it calls normal.
        gap: between words, in steps of 10 ms by eSpeak NG's documentation, and of 17 ms by the clock.

    Raises:
        UserError: eSpeak NG is not installed, or does not know the voice.
    """
    library, data = _installed()
    voice = _voice(data, language, variant)
    pieces: list[bytes] = []

    @_RECEIVER
    def receive(samples: int | None, count: int, events: int | None) -> int:
        if samples:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    with _loaded(library) as engine:
        sample_rate: int = engine.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DO_NOT_EXIT)
        if sample_rate <= 0:
            raise UserError(f"eSpeak NG cannot read its data in {data}; install espeakng-loader again")
        engine.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of the noise of breath; by default it is the clock
        engine.espeak_SetSynthCallback(receive)
        if engine.espeak_SetVoiceByName(voice.encode()):
            raise UserError(f"eSpeak NG has no voice {language!r}; some that it has are en, en-us and ko")
        settings = {_RATE: rate, _VOLUME: volume, _PITCH: pitch, _RANGE: range, _WORD_GAP: gap}
        for parameter, value in settings.items():
            engine.espeak_SetParameter(parameter, value, 0)
        content = text.encode() + b"\0"
        size = ctypes.c_size_t(len(content))
        engine.espeak_Synth(content, size, 0, _BY_CHARACTER, 0, _UTF8, None, None)
    return np.frombuffer(b"".join(pieces), np.int16), sample_rate


def _installed() -> tuple[str, Path]:
    """The paths of the library and of its data."""
    try:
        import espeakng_loader
    except ImportError:
        raise UserError("speech is synthesised by eSpeak NG: pip install 'asr-train[synth]'") from None
    return str(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


def _voice(data: Path, language: str, variant: str) -> str:
    """The name of a voice. eSpeak NG passes over an unknown variant in silence: hence a look at the files."""
    known = sorted(path.name for path in (data / "voices" / "!v").iterdir())
    if variant and variant not in known:
        raise UserError(f"eSpeak NG has no variant {variant!r}; it has {', '.join(known)}")
    return f"{language}+{variant}" if variant else language


@contextmanager
def _loaded(path: str) -> Iterator[ctypes.CDLL]:
    with _LOCK:
        try:
            engine = ctypes.CDLL(path)
        except OSError as error:
            raise UserError(f"eSpeak NG cannot be loaded ({error}); install espeakng-loader again") from None
        try:
            yield engine
        finally:
            engine.espeak_Terminate()
            handle = ctypes.c_void_p(engine._handle)  # documented, in spite of its name
            if sys.platform == "win32":
                ctypes.WinDLL("kernel32").FreeLibrary(handle)
            else:
                ctypes.CDLL(None).dlclose(handle)
