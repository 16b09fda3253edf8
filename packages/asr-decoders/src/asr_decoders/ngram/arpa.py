"""ARPA files, plain or gzipped, as SRILM, KenLM, the CMU toolkit and others write them.

    \\data\\
    ngram 1=3                  how many n-grams there are of each order

    \\1-grams:
    -99 <s> -0.3               log10 probability, words, log10 back-off: a back-off that is missing is 0,
    -0.5 </s>                  and the longest n-grams have none
    ...
    \\end\\

Fields are separated by tabs or spaces. Before \\data\\ there may be anything. Words are UTF-8.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.build import Order, RepeatedError, probing
from asr_decoders.ngram.decimals import NUMBER, parse
from asr_decoders.ngram.layout import Keys, Probing
from asr_decoders.ngram.lines import Source, opened, shown
from asr_decoders.ngram.tables import murmur
from asr_decoders.ngram.words import UNKNOWN, ProbingWords, word_hashes

Ints = NDArray[np.intp]
Floats = NDArray[np.float32]

# KenLM's, for a file without <unk>: unknown words are as good as impossible.
UNKNOWN_LOG10 = np.float32(-100.0)

_MARGIN = b" " * 8  # words and numbers are read eight bytes at a time
_SPACE = np.zeros(256, dtype=np.bool_)
_SPACE[[9, 10, 13, 32]] = True


class Arpa(NamedTuple):
    """What a file holds."""

    words: list[str]  # by number; 0 is <unk>
    table: ProbingWords
    layout: Probing


def read(path: str | Path) -> Arpa:
    """Reads a file.

    Raises ValueError, with the line, for a file that is cut, whose counts are wrong, for a line that is not an
    n-gram, for a word that is not among the unigrams, for probabilities above 1 and for a unigram that comes
    twice; FileNotFoundError where there is none.
    """
    with opened(path) as file:
        source = Source(path, file)
        try:
            return _read(source)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: the gzip file is cut or damaged after line {source.line}: {error}") from None


def _read(source: Source) -> Arpa:
    counts = _counts(source)
    lines: list[list[Ints]] = [[] for _ in counts]
    words, unigrams, table = _unigrams(source, counts[0], lines[0], longest=len(counts) == 1)
    orders = [unigrams]
    for n, count in enumerate(counts[1:], start=2):
        orders.append(_order(source, n, count, table, lines[n - 1], longest=n == len(counts)))
    line = source.text_line()
    if line != b"\\end\\":
        source.fail(f"\\end\\ expected, got {shown(line)}")
    if (line := source.text_line()) is not None:
        source.fail(f"nothing expected after \\end\\, got {shown(line)}")
    try:
        layout = probing(orders)
    except RepeatedError as error:
        row = int(np.concatenate(lines[error.order - 1])[error.row])
        source.fail(f"{error.order}-grams all different expected, got one that was there before", row)
    return Arpa(words, table, layout)


def _counts(source: Source) -> list[int]:
    """The counts in the header; the title of the unigrams is taken as well."""
    line = source.text_line()
    while line != b"\\data\\":
        if line is None:
            source.fail("an ARPA file expected, got no line \\data\\")
        line = source.text_line()
    counts: list[int] = []
    while (line := source.text_line()) is not None and line.startswith(b"ngram"):
        match = re.fullmatch(rb"ngram\s+(\d{1,3})\s*=\s*(\d{1,15})", line)
        if match is None or int(match[1]) != len(counts) + 1:
            source.fail(f"'ngram {len(counts) + 1}=' and a count expected, got {shown(line)}")
        counts.append(int(match[2]))
    if not counts:
        source.fail(f"'ngram 1=' and a count expected, got {shown(line)}")
    _check_title(source, line, 1)
    return counts


def _check_title(source: Source, line: bytes | None, n: int) -> None:
    if line != b"\\%d-grams:" % n:
        source.fail(f"\\{n}-grams: expected, got {shown(line)}")


class _Block(NamedTuple):
    """Some of the n-grams of one order."""

    text: NDArray[np.uint8]  # the lines, between spaces
    line: Ints  # (r,) their numbers
    starts: Ints  # (r, n) of the words in the text
    ends: Ints  # (r, n)
    prob: Floats  # (r,)
    backoff: Floats  # (r,)

    def hashes(self) -> Keys:
        """(r, n) of the words."""
        found = murmur(self.text, self.starts.ravel(), (self.ends - self.starts).ravel())
        return found.reshape(self.starts.shape)

    def word(self, row: int, column: int) -> bytes:
        return self.text[self.starts[row, column] : self.ends[row, column]].tobytes()


def _blocks(source: Source, n: int, count: int, *, longest: bool) -> Iterator[_Block]:
    """The n-grams of one order."""
    found = 0
    for lines, before in source.section():
        block = _parse(lines, before, n)
        if block is None or (longest and block.backoff.any()):
            _explain(source, lines, before, n, longest=longest)
        found += block.line.size
        yield block
    if found != count:
        source.fail(f"{count} {n}-grams expected, as the line 'ngram {n}={count}' says, got {found}")


def _parse(lines: bytes, before: int, n: int) -> _Block | None:
    """Takes whole lines apart, all at once; None where one of them is not an n-gram."""
    text = np.frombuffer(_MARGIN + lines + b"\n" + _MARGIN, dtype=np.uint8)
    edges = np.flatnonzero(np.diff(_SPACE[text], prepend=True))  # where a field begins, where it ends, and so on
    starts, ends = edges[0::2], edges[1::2]
    first = np.searchsorted(starts, np.flatnonzero(text == 10))  # the fields before the end of each line
    fields = np.diff(first, prepend=0)
    rows = np.flatnonzero(fields)
    fields, first = fields[rows], first[rows] - fields[rows]
    if not np.isin(fields, (n + 1, n + 2)).all():
        return None
    has_backoff = fields == n + 2
    numbers = np.concatenate((first, first[has_backoff] + n + 1))
    values = parse(text, starts[numbers], ends[numbers])
    if values is None or not np.isfinite(values).all() or (values[: rows.size] > 0).any():
        return None
    backoff = np.zeros(rows.size, dtype=np.float32)
    backoff[has_backoff] = values[rows.size :]
    words = first[:, None] + np.arange(1, n + 1)
    return _Block(text, rows + before + 1, starts[words], ends[words], values[: rows.size], backoff)


def _explain(source: Source, lines: bytes, before: int, n: int, *, longest: bool) -> NoReturn:
    """Fails at the first line that is not an n-gram."""
    for at, line in enumerate(lines.split(b"\n"), start=before + 1):
        fields = re.split(rb"[ \t\r]+", line.strip(b" \t\r"))
        if fields == [b""]:
            continue
        numbers = [fields[0], *fields[n + 1 :]]
        if len(numbers) > 2 or len(fields) < n + 1:
            expected = f"a probability, {n} {'word' if n == 1 else 'words'} and perhaps a back-off"
            source.fail(f"{expected} expected, got {len(fields)} fields: {shown(line)}", at)
        for field in numbers:
            if not NUMBER.fullmatch(field) or not np.isfinite(np.float32(field)):
                source.fail(f"a logarithm expected, got {shown(field)}", at)
        if float(fields[0]) > 0:
            source.fail(f"the logarithm of a probability, at most 0, expected, got {shown(fields[0])}", at)
        if longest and len(numbers) > 1 and float(numbers[1]):
            source.fail(f"no back-off expected in the longest n-grams, got {shown(numbers[1])}", at)
    source.fail(f"{n}-grams expected from line {before + 1} on, which cannot be read")


_UNKNOWN_HASHES = word_hashes(UNKNOWN)


def _unigrams(source: Source, count: int, lines: list[Ints], *, longest: bool) -> tuple[list[str], Order, ProbingWords]:
    """The words by number, their unigrams, and the hash table of the words; their lines are added to `lines`."""
    words: list[str] = []
    blocks = []
    hashes = [np.zeros(0, dtype=np.uint64)]
    for block in _blocks(source, 1, count, longest=longest):
        for row in range(block.line.size):
            word = block.word(row, 0)
            try:
                words.append(word.decode())
            except UnicodeDecodeError:
                source.fail(f"words in UTF-8 expected, got {shown(word)}", int(block.line[row]))
        blocks.append(block)
        lines.append(block.line)
        hashes.append(block.hashes()[:, 0])
    everything = np.concatenate(hashes)
    unknown = np.isin(everything, _UNKNOWN_HASHES)
    ids = np.where(unknown, 0, np.cumsum(~unknown))
    table = ProbingWords.of(everything[~unknown])
    again = np.flatnonzero((table.find(everything) != ids) | (unknown & (np.cumsum(unknown) > 1)))
    if again.size:
        line = int(np.concatenate(lines)[again.max()])
        source.fail(f"unigrams all different expected, got {words[again.max()]!r} once more", line)
    prob = np.full(ids.size + (not unknown.any()), UNKNOWN_LOG10, dtype=np.float32)
    backoff = np.zeros(prob.size, dtype=np.float32)
    if blocks:
        prob[ids] = np.concatenate([block.prob for block in blocks])
        backoff[ids] = np.concatenate([block.backoff for block in blocks])
    known = [word for word in words if word not in UNKNOWN]
    numbers = np.arange(prob.size, dtype=np.int32)[:, None]
    return ["<unk>", *known], Order(numbers, prob, backoff), table


def _order(source: Source, n: int, count: int, table: ProbingWords, lines: list[Ints], *, longest: bool) -> Order:
    """The n-grams of one order, title included; their lines are added to `lines`."""
    _check_title(source, source.text_line(), n)
    words: list[NDArray[np.int32]] = [np.zeros((0, n), dtype=np.int32)]
    prob, backoff = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for block in _blocks(source, n, count, longest=longest):
        hashes = block.hashes()
        ids = table.find(hashes.ravel()).reshape(hashes.shape)
        strange = np.argwhere((ids == 0) & ~np.isin(hashes, _UNKNOWN_HASHES))
        if strange.size:
            row, column = strange[0]
            word = shown(block.word(row, column))
            source.fail(f"words of the unigrams expected, got {word}, which is not one", int(block.line[row]))
        lines.append(block.line)
        words.append(ids.astype(np.int32))
        prob.append(block.prob)
        backoff.append(block.backoff)
    return Order(np.concatenate(words), np.concatenate(prob), np.concatenate(backoff))


def write(path: str | Path, words: Sequence[str], orders: Sequence[Order]) -> None:
    """Writes a file, gzipped where its name ends in .gz; the numbers are exact to float32."""
    zipped = str(path).endswith(".gz")
    with gzip.open(path, "wt", encoding="utf-8") if zipped else open(path, "w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {n}={order.prob.size}\n" for n, order in enumerate(orders, start=1))
        for n, order in enumerate(orders, start=1):
            file.write(f"\n\\{n}-grams:\n")
            for start in range(0, order.prob.size, 1 << 16):
                rows = slice(start, start + (1 << 16))
                texts = [" ".join(words[number] for number in row) for row in order.words[rows].tolist()]
                fields = [order.prob[rows].astype(str).tolist(), texts]
                if n < len(orders):
                    fields.append(order.backoff[rows].astype(str).tolist())
                file.writelines("\t".join(line) + "\n" for line in zip(*fields, strict=True))
        file.write("\n\\end\\\n")
