"""Interpolated modified Kneser-Ney: an n-gram model from text."""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.checks import integer
from asr_decoders.ngram.build import Order, probing
from asr_decoders.ngram.model import NGram, Sentence
from asr_decoders.ngram.words import UNKNOWN, ProbingWords, word_hashes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Discounts = tuple[float, float, float]  # of n-grams seen once, twice, more often

SPECIAL = ("<unk>", "<s>", "</s>")  # the first numbers, as in lmplz
_BEGIN, _END = 1, 2


def estimate(
    sentences: Iterable[Sentence],
    *,
    order: int = 3,
    prune: Sequence[int] = (0,),
    discount_fallback: Discounts | None = None,
) -> NGram:
    """A model of the words of sentences, as KenLM's lmplz estimates it.

    Interpolated modified Kneser-Ney (Chen and Goodman, "An empirical study of smoothing techniques for language
    modeling", 1998; Heafield et al., "Scalable modified Kneser-Ney language model estimation", 2013): with the
    count c of an n-gram (history h, word w), and h' the history without its first word,

        p(w | h) = (c(h w) - D(c)) / c(h .) + gamma(h) p(w | h'),      c(h .) = sum of c(h w) over w,

    where gamma(h) is what the discounts D leave over. c is how often the n-gram was seen if it is of the highest
    order or begins with <s>, and otherwise how many different words were seen before it. The discounts D(1),
    D(2), D(3 and more) of each order come from the numbers n1 ... n4 of n-grams with the counts 1 ... 4, as
    D(k) = k - (k + 1) n(k+1) / n(k) n1 / (n1 + 2 n2). Unigrams are interpolated with 1 / V, V being the number
    of words with <unk> and </s>, without <s>; so <unk> has a probability.

    order: the greatest length of n-grams.
    prune: of each order (the last number is for all higher ones as well), n-grams seen that often or less are
        left out; what they had goes to gamma. Never decreasing. <s>, </s> and <unk> always stay.
    discount_fallback: the discounts of an order for which the counts give none, because the text is small or
        regular: then n1, n2 or n3 is 0 or a D(k) is not in [0, k]. lmplz's own are (0.5, 1.0, 1.5).
    Memory is about 250 bytes for each word of the text, for order 3.

    Raises ValueError for a text without words, or with one of <s>, </s>, <unk>; and where the counts give no
    discounts and there is no fallback.
    """
    integer("order", order, least=1)
    thresholds = _thresholds(prune, order)
    if discount_fallback is not None and not (
        len(discount_fallback) == 3 and all(0 <= discount <= k for k, discount in enumerate(discount_fallback, start=1))
    ):
        raise ValueError(
            f"discount_fallback must be three discounts in [0, 1], [0, 2], [0, 3], got {discount_fallback}"
        )
    words, text = _numbered(sentences)
    levels = _count(text, order, len(words))
    discounts = [_discounts(level.counted, n, discount_fallback) for n, level in enumerate(levels, start=1)]
    orders = _probabilities(levels, discounts, thresholds)

    kept = orders[0].words[:, 0]
    number = np.zeros(len(words), dtype=np.int32)
    number[kept] = np.arange(kept.size)
    orders = [Order(number[order.words], order.prob, order.backoff) for order in orders]
    names = tuple(words[i] for i in kept.tolist())
    return NGram(probing(orders), ProbingWords.of(word_hashes(names[1:])), names, "an estimate", tuple(orders))


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    for threshold in prune:
        integer("prune", threshold, least=0)
    if not prune or len(prune) > order or list(prune) != sorted(prune):
        raise ValueError(f"prune must be 1 to {order} thresholds, none less than the one before, got {tuple(prune)}")
    return [*prune, *[prune[-1]] * (order - len(prune))]


class _Text(NamedTuple):
    """All sentences, one after the other, each from <s> to </s>."""

    words: Ints  # (P,)
    left: Ints  # (P,) how many words of the sentence are left at each place, its own included


def _numbered(sentences: Iterable[Sentence]) -> tuple[list[str], _Text]:
    """The words by number, and the text in numbers."""
    numbers = {word: number for number, word in enumerate(SPECIAL)}
    ids, lengths = array("i"), array("i")
    for sentence in sentences:
        words = sentence.split() if isinstance(sentence, str) else sentence
        ids.append(_BEGIN)
        ids.extend([numbers.setdefault(word, len(numbers)) for word in words])
        ids.append(_END)
        lengths.append(len(words) + 2)
    text = np.frombuffer(ids, dtype=np.intc).astype(np.int64)
    ends = np.cumsum(np.frombuffer(lengths, dtype=np.intc), dtype=np.int64)
    if len(numbers) == len(SPECIAL):
        raise ValueError(f"sentences with words expected, got {len(lengths)} without any")
    _check(numbers, text, len(lengths))
    return list(numbers), _Text(text, np.repeat(ends, lengths) - np.arange(text.size))


def _check(numbers: Iterable[str], text: Ints, sentences: int) -> None:
    """Raises ValueError where a word cannot be one of an ARPA file."""
    if int((text < len(SPECIAL)).sum()) != 2 * sentences:
        raise ValueError(f"sentences without {', '.join(SPECIAL)} expected, got one of them: leave them out")
    for word in numbers:
        if word.split() != [word] or word == UNKNOWN[1]:
            raise ValueError(f"words without spaces, other than {UNKNOWN[1]}, expected, got {word!r}")


class _Level(NamedTuple):
    """The n-grams of one order, numbered 0, 1, 2 ..."""

    context: Ints  # (n,) the number of the n-gram without its last word, among those of the order before
    suffix: Ints  # (n,) the number of the n-gram without its first word
    word: Ints  # (n,) the last word
    seen: Ints  # (n,) how often it was seen
    counted: Ints  # (n,) what Kneser-Ney counts


def _count(text: _Text, order: int, size: int) -> list[_Level]:
    """The n-grams of all orders in a text of so many different words."""
    none = np.zeros(size, dtype=np.int64)
    seen = np.bincount(text.words, minlength=size)
    levels = [_Level(none, none, np.arange(size), seen, seen)]
    begins = np.arange(size) == _BEGIN
    at = text.words  # the number of the n-gram that begins at each place
    for n in range(2, order + 1):
        places = np.flatnonzero(text.left >= n)
        pairs = at[places] * size + text.words[places + n - 1]
        pairs, number, seen = np.unique(pairs, return_inverse=True, return_counts=True)
        suffix = np.zeros(pairs.size, dtype=np.int64)
        suffix[number] = at[places + 1]
        before = np.bincount(suffix, minlength=levels[-1].seen.size)
        levels[-1] = levels[-1]._replace(counted=np.where(begins, levels[-1].seen, before))
        levels.append(_Level(pairs // size, suffix, pairs % size, seen, seen))
        begins = begins[levels[-1].context]
        at = np.zeros_like(at)
        at[places] = number
    levels[0].counted[_BEGIN] = 0  # it is never predicted
    return levels


def _discounts(count: Ints, order: int, fallback: Discounts | None) -> Discounts:
    """D(1), D(2) and D(3 and more) of the n-grams of one order."""
    n1, n2, n3, n4 = np.bincount(np.minimum(count, 5), minlength=6)[1:5].tolist()
    reason = f"{n1}, {n2} and {n3} n-grams are counted 1, 2 and 3 times"
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 <= discount <= k for k, discount in enumerate(found, start=1)):
            return found
        reason = f"they would be {', '.join(f'{discount:.3g}' for discount in found)}"
    if fallback is None:
        raise ValueError(
            f"the text gives no discounts for order {order}, {reason}: it is small or repeats itself; give more or "
            "other text, a lower order, or discount_fallback=(0.5, 1.0, 1.5)"
        )
    return fallback


def _probabilities(levels: list[_Level], discounts: list[Discounts], thresholds: list[int]) -> list[Order]:
    """The n-grams that are kept, with what an ARPA file says of them."""
    found: list[Order] = []
    keep: list[NDArray[np.bool_]] = []
    rows = np.zeros((1, 0), dtype=np.int32)
    lower = np.zeros(1)  # the probabilities of the order before
    for n, (level, discount, threshold) in enumerate(zip(levels, discounts, thresholds, strict=True), start=1):
        kept = level.seen > threshold
        if n == 1:
            kept[: len(SPECIAL)] = True
            lower = np.ones(1) / (kept.sum() - 1)
        taken = np.array([0.0, *discount])[np.minimum(level.counted, 3)]
        contexts = lower.size
        total = np.bincount(level.context, weights=level.counted, minlength=contexts)
        left = np.bincount(level.context, weights=np.where(kept, taken, level.counted), minlength=contexts)
        gamma = np.divide(left, total, out=np.ones(contexts), where=total > 0)
        prob = (level.counted - taken) / total[level.context] + gamma[level.context] * lower[level.suffix]
        if n == 1:
            prob[_BEGIN] = 1.0  # as lmplz has it: whoever asks for it loses nothing
        else:
            found[-1] = found[-1]._replace(backoff=_log10(gamma[keep[-1]]))
        rows = np.column_stack((rows[level.context], level.word)).astype(np.int32)
        keep.append(kept)
        found.append(Order(rows[kept], _log10(prob[kept]), np.zeros(int(kept.sum()), dtype=np.float32)))
        lower = prob
    return found


def _log10(values: Floats) -> NDArray[np.float32]:
    """0 becomes -99, which stands for it in ARPA files."""
    return np.minimum(np.log10(np.maximum(values, 1e-99)), 0.0).astype(np.float32)
