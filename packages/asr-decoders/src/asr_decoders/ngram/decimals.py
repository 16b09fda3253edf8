"""Decimal numbers in a text, all at once: an ARPA file has millions of them."""

import re

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.tables import eights

Ints = NDArray[np.intp]

NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")

_LAST = np.array([((1 << 8 * n) - 1) << 8 * (8 - n) for n in range(9)], dtype=np.uint64)  # the last n of 8 bytes
_ZEROS = np.uint64(0x3030303030303030)
_TOP = np.uint64(0x8080808080808080)
_ABOVE_9 = np.uint64(0x7676767676767676)  # 0x80 - 10
_TENTH = 10.0 ** -np.arange(17)


def parse(text: NDArray[np.uint8], starts: Ints, ends: Ints) -> NDArray[np.float32] | None:
    """The numbers (n,) from starts to ends; None where one of them is not a number.

    Eight bytes must stand before the first of them.
    """
    sign = text[starts]
    signed = (sign == ord("-")) | (sign == ord("+"))
    begin = starts + signed
    dots = np.append(np.flatnonzero(text == ord(".")), text.size)
    dot = np.minimum(dots[np.searchsorted(dots, begin)], ends)
    places = np.maximum(ends - dot - 1, 0)  # digits after the dot
    usual = (dot > begin) & (dot - begin <= 8) & (places <= 16)

    whole, well = _digits(text, dot, np.where(usual, dot - begin, 0))
    value, good = _digits(text, ends, np.minimum(places, 8))
    usual &= well & good
    rows = np.flatnonzero(usual & (places > 8))
    head, well = _digits(text, ends[rows] - 8, places[rows] - 8)
    value[rows] += head * 1e8
    usual[rows] &= well
    value = whole + value * _TENTH[np.minimum(places, 16)]
    value[sign == ord("-")] *= -1
    for row in np.flatnonzero(~usual).tolist():  # with an exponent, or with many digits
        number = text[starts[row] : ends[row]].tobytes()
        if not NUMBER.fullmatch(number):
            return None
        value[row] = float(number)
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype=np.float32)


def _digits(text: NDArray[np.uint8], ends: Ints, lengths: Ints) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The integers (n,) of at most eight digits before `ends`, and whether they are digits.

    Eight bytes are one word, the first the lowest: the last digits are its highest bytes. Then digits are
    joined to pairs, pairs to fours and fours to eight by three products (Lemire, "Number parsing at a gigabyte
    per second", 2021).
    """
    digits = (eights(text)[ends - 8] ^ _ZEROS) & _LAST[lengths]
    good = ((digits + _ABOVE_9) | digits) & _TOP == 0
    digits = digits * np.uint64(10) + (digits >> np.uint64(8))
    pairs = np.uint64(0x000000FF000000FF)
    low = (digits & pairs) * np.uint64(0x000F424000000064)
    high = ((digits >> np.uint64(16)) & pairs) * np.uint64(0x0000271000000001)
    return ((low + high) >> np.uint64(32)).astype(np.float64), good
