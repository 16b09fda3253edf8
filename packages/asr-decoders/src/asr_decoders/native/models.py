"""Language models and hotwords as the library reads them: pointers to the arrays that numpy works with."""

import ctypes
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders.fusion import Context, Fusion
from asr_decoders.hotwords import HotwordContext
from asr_decoders.language import Scale, TokenContext, WordContext
from asr_decoders.native import loader
from asr_decoders.ngram import NGram
from asr_decoders.ngram.layout import LONGEST, MIDDLE, TRIE_UNIGRAM, UNIGRAM, WORD, Layout, Packed, Probing

Array = NDArray[Any]


def supports(fusion: Fusion | None) -> bool:
    """Whether the native search can do this; models of one's own are Python, and stay with numpy."""
    native = WordContext | TokenContext | HotwordContext
    return fusion is None or all(isinstance(context, native) for context in fusion._contexts)


class Models:
    """A fusion in the library, and the arrays that it points to."""

    def __init__(self, fusion: Fusion) -> None:
        library = loader.library()
        self._arrays: list[Any] = []  # what must live as long as the handle
        size = max(np.size(context.bound) for context in fusion._contexts)
        bound = self._numbers(fusion.bound(size), np.float64, size)
        handle = ctypes.c_void_p()
        loader.check(library.asr_fusion_new(bound, size, handle))
        self.handle = handle
        self._finalizer = weakref.finalize(self, library.asr_fusion_free, handle)
        for context in fusion._contexts:
            self._add(library, context, size)

    def _add(self, library: ctypes.CDLL, context: Context, size: int) -> None:
        if isinstance(context, WordContext):
            loader.check(library.asr_fusion_add_words(self.handle, self._words(context, size)))
        elif isinstance(context, TokenContext):
            loader.check(library.asr_fusion_add_tokens(self.handle, self._tokens(context, size)))
        elif isinstance(context, HotwordContext):
            loader.check(library.asr_fusion_add_hotwords(self.handle, self._hotwords(context, size)))
        else:
            raise ValueError(f'backend "native" has n-gram models and hotwords alone, got {type(context).__name__}')

    def _words(self, context: WordContext, size: int) -> loader.WordArrays:
        return loader.WordArrays(
            ngram=self._ngram(context._lm.layout),
            scale=_scale(context._scale, context._lm),
            lexicon=self._table(context._lm.lexicon.table, WORD),
            hotwords=self._table(context._hotwords.table, WORD),
            start=self._history(context._lm, context._scale),
            starts=self._numbers(context._starts, np.uint8, size),
            factor=self._numbers(context._factor, np.uint64, size),
            hash=self._numbers(context._hash, np.uint64, size),
            characters=self._numbers(context._characters, np.int64, size),
        )

    def _tokens(self, context: TokenContext, size: int) -> loader.TokenArrays:
        _require(0 <= context._numbers.min() <= context._numbers.max() < len(context._lm), "numbers of its words")
        return loader.TokenArrays(
            ngram=self._ngram(context._lm.layout),
            scale=_scale(context._scale, context._lm),
            start=self._history(context._lm, context._scale),
            numbers=self._numbers(context._numbers, np.int64, size),
            bonus=self._numbers(context._bonus, np.float64, size),
        )

    def _hotwords(self, context: HotwordContext, size: int) -> loader.HotwordArrays:
        _, following, weight, finish = context.automaton
        states, classes = following.shape
        return loader.HotwordArrays(
            states=states,
            classes=classes,
            width=context._spelt.shape[1],
            following=self._numbers(following, np.int64, states * classes),
            weight=self._numbers(weight, np.float64, states * classes),
            finish=self._numbers(finish, np.float64, states),
            lengths=self._numbers(context._lengths, np.int64, size),
            spelt=self._numbers(context._spelt, np.int64, context._spelt.size),
        )

    def _history(self, lm: NGram, scale: Scale) -> int:
        return self._numbers(lm.initial(bos=scale.sentence_boundaries), np.int32, 2 * (lm.order - 1))

    def _ngram(self, layout: Layout) -> loader.NGramArrays:
        _require(layout.order > 0 and layout.unigrams.size > (not isinstance(layout, Probing)), "words")
        if isinstance(layout, Probing):
            _require(len(layout.middle) == max(0, layout.order - 2), "a table of every order")
            middle = [self._table(table, MIDDLE) for table in layout.middle]
            return loader.NGramArrays(
                order=layout.order,
                unigrams=self._table(layout.unigrams, UNIGRAM),
                middle=self._kept((loader.Table * max(1, len(middle)))(*middle)),
                longest=self._table(layout.longest, LONGEST),
            )
        _require(len(layout.packed) == layout.order - 1, "n-grams of every order")
        packed = [self._packed(order) for order in layout.packed]
        return loader.NGramArrays(
            order=layout.order,
            unigrams=self._table(layout.unigrams, TRIE_UNIGRAM),
            packed=self._kept((loader.PackedOrder * max(1, len(packed)))(*packed)),
        )

    def _packed(self, order: Packed) -> loader.PackedOrder:
        names = ("count", "bits", "word_bits", "prob_at", "prob_bits", "backoff_at", "backoff_bits")
        numbers = {name: getattr(order, name) for name in (*names, "next_at", "next_bits", "next_count")}
        _require(all(number >= 0 for number in numbers.values()), "counts and places of at least 0")
        _require(all(numbers[name] <= 57 for name in numbers if name.endswith("_bits")), "fields of at most 57 bits")
        probs, backoffs, offsets = order.probs, order.backoffs, order.offsets
        return loader.PackedOrder(
            data=self._numbers(order.data, np.uint8, order.data.size),
            probs=None if probs is None else self._numbers(probs, np.float32, 1 << order.prob_bits),
            backoffs=None if backoffs is None else self._numbers(backoffs, np.float32, 1 << order.backoff_bits),
            offsets=None if offsets is None else self._numbers(offsets, np.uint64, offsets.size),
            num_bytes=order.data.size,
            num_offsets=0 if offsets is None else offsets.size,
            **numbers,
        )

    def _table(self, table: Array, dtype: np.dtype[Any]) -> loader.Table:
        return loader.Table(self._numbers(table, dtype, table.size), table.size)

    def _numbers(self, array: Array, dtype: Any, size: int) -> int:
        """Where the numbers are; they are as many as they must be."""
        array = np.ascontiguousarray(array, dtype)
        _require(array.size == size, f"{size} numbers")
        return loader.address(self._kept(array))

    def _kept(self, value: Any) -> Any:
        self._arrays.append(value)
        return value


def _scale(scale: Scale, lm: NGram) -> loader.Scale:
    _require(0 <= lm.end < len(lm), "a number of </s>")
    last = lm.end if scale.sentence_boundaries else -1
    return loader.Scale(scale.lm_weight, scale.word_bonus, scale.unknown_log_prob, last)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"a language model has {what}, and this one has not: it is damaged")
