"""The search of `asr_decoders.search` by the library."""

import ctypes
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders.frames import Preparation
from asr_decoders.fusion import Fusion
from asr_decoders.native import loader
from asr_decoders.native.align import best_path
from asr_decoders.native.models import Models
from asr_decoders.search import Path

MANY = 2**31 - 1  # more than there are of anything
PATH = struct.Struct("<dddq")  # acoustic, language, bonus, number of tokens


@dataclass(frozen=True, kw_only=True)
class NativeSearch:
    """A `Backend` with the options and the results of `NumpySearch`. Its states are bytes."""

    blank: int
    beam_size: int
    beam_threshold: float
    prepare: Preparation
    fusion: Fusion | None

    def start(self) -> bytes:
        with self._opened() as search:
            return self._save(search)

    def step(self, state: bytes, log_probs: NDArray[np.floating[Any]], /) -> bytes:
        array, arguments = loader.frames(log_probs)
        with self._opened(state) as search:
            bad = ctypes.c_int64()
            status = loader.library().asr_search_run(search, *arguments, bad)
            if status == loader.BAD_FRAME:
                raise ValueError(f"frame {bad.value} of {len(array)} is NaN, above 0 or impossible: check it before")
            if status == loader.BAD_STATE:
                raise ValueError(f"this state of a stream is not one for frames of V = {array.shape[1]}")
            if status == loader.IMPOSSIBLE:
                raise ValueError("no hypothesis is possible any more: the language model gives -inf to all of them")
            loader.check(status)
            return self._save(search)

    def settle(self, state: bytes, tokens: Sequence[int], /) -> tuple[bytes, tuple[int, ...]]:
        required = np.array(tokens, dtype=np.int32)
        with self._opened(state) as search:
            output = ctypes.c_void_p()
            status = loader.library().asr_search_settle(search, loader.address(required), required.size, output)
            if status == loader.NO_SUCH_PREFIX:
                raise ValueError(f"no hypothesis in the beam begins with the {required.size} tokens")
            loader.check(status)
            settled = np.frombuffer(_taken(output), dtype=np.int32)
            return self._save(search), tuple(settled.tolist())

    def paths(self, state: bytes, count: int, /, *, final: bool) -> list[Path]:
        with self._opened(state) as search:
            output = ctypes.c_void_p()
            loader.check(loader.library().asr_search_paths(search, min(count, MANY), final, output))
            data = _taken(output)
        paths, at = [], 0
        while at < len(data):
            *parts, length = PATH.unpack_from(data, at)
            tokens = np.frombuffer(data, np.int32, length, at + PATH.size)
            paths.append(Path(tuple(tokens.tolist()), *parts))
            at += PATH.size + tokens.nbytes
        return paths

    def best_path(
        self, array: NDArray[np.floating[Any]], tokens: Sequence[int], state: int | None, /
    ) -> NDArray[np.intp]:
        return best_path(array, tokens, blank=self.blank, state=state)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # pointers are of one process

    @cached_property
    def _models(self) -> Models | None:
        return None if self.fusion is None else Models(self.fusion)

    @cached_property
    def _options(self) -> loader.SearchOptions:
        prepare = self.prepare
        least = -np.inf if prepare.token_min_log_prob is None else prepare.token_min_log_prob
        top_k = min(prepare.top_k or 0, MANY)
        prepared = loader.Preparation(prepare.input == "logits", top_k, least, prepare.cumulative or 0.0)
        return loader.SearchOptions(min(self.blank, MANY), min(self.beam_size, MANY), self.beam_threshold, prepared)

    @contextmanager
    def _opened(self, *states: bytes) -> Iterator[ctypes.c_void_p]:
        """A search, from its start or from the state."""
        state = states[0] if states else None
        if states and not isinstance(state, bytes):
            raise ValueError(f"a state of the native search is bytes, got {type(state).__name__}: of another backend?")
        library, models = loader.library(), self._models
        search = ctypes.c_void_p()
        fusion = None if models is None else models.handle
        size = 0 if state is None else len(state)
        status = library.asr_search_new(self._options, fusion, state, size, search)
        if status == loader.BAD_STATE:
            raise ValueError("this state of a stream is damaged, or of a decoder with other options")
        loader.check(status)
        try:
            yield search
        finally:
            library.asr_search_free(search)

    def _save(self, search: ctypes.c_void_p) -> bytes:
        output = ctypes.c_void_p()
        loader.check(loader.library().asr_search_save(search, output))
        return _taken(output)


def _taken(output: ctypes.c_void_p) -> bytes:
    """The bytes of a result, which is freed."""
    library = loader.library()
    try:
        return ctypes.string_at(library.asr_output_bytes(output), library.asr_output_size(output))
    finally:
        library.asr_output_free(output)
