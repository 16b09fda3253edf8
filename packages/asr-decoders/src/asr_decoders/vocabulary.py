"""Ids and their pieces of text, and where words begin."""

import re
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

from asr_decoders.interfaces import Word

Boundary = Literal["space", "sentencepiece", "none"]

# SentencePiece writes the space before a word as U+2581, and bytes that it has no piece for as
# <0xEA><0xB0><0x80>.
WORD_MARK = "\u2581"
BYTES = re.compile("(?:<0x[0-9A-Fa-f]{2}>)+")


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of a model, in the order of their ids.

    pieces: one string for every id, all different; the blank and other special ids have a piece too.
    boundary: what separates words in the joined pieces. "space": the character space, as in models of
        characters; "sentencepiece": U+2581 before every word, bytes as <0x..>; "none": nothing, the text is
        the pieces as they are.
    special: ids that are left out of the text (padding, blank, begin, end ...).

    Raises ValueError where pieces repeat, and where an option or an id is not one of the valid ones.
    """

    pieces: tuple[str, ...]
    _: KW_ONLY
    boundary: Boundary = "space"
    special: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "pieces", tuple(self.pieces))  # lists are welcome, but cannot be hashed
        object.__setattr__(self, "special", tuple(self.special))
        if not self.pieces:
            raise ValueError("a vocabulary needs at least one piece, got none")
        if len(self._ids) != len(self.pieces):
            twice = next(piece for i, piece in enumerate(self.pieces) if self._ids[piece] != i)
            raise ValueError(f"pieces must be all different, but {twice!r} is there more than once: rename one")
        if self.boundary not in get_args(Boundary):
            raise ValueError(f"boundary must be one of {', '.join(get_args(Boundary))}, got {self.boundary!r}")
        for token in self.special:
            self.piece(token)

    @classmethod
    def from_file(
        cls, path: str | PathLike[str], *, boundary: Boundary = "space", special: Iterable[int] = ()
    ) -> "Vocabulary":
        """Reads UTF-8 text, one piece a line, the first being id 0; a line of one space is the space.

        Raises FileNotFoundError, and ValueError for a table of several columns.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no vocabulary at {path}: a text file with one piece a line is expected")
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        numbered = len(lines) > 1 and all(line.endswith(f" {i}") for i, line in enumerate(lines))
        if numbered or any("\t" in line for line in lines):
            raise ValueError(f"one piece a line expected in {path}, got a table: keep the column of the pieces")
        return cls(tuple(lines), boundary=boundary, special=tuple(special))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: i for i, piece in enumerate(self.pieces)}

    def __len__(self) -> int:
        return len(self.pieces)

    def piece(self, token: int) -> str:
        """The piece of an id. Raises ValueError for an id that is not in the vocabulary."""
        if not 0 <= token < len(self.pieces):
            raise ValueError(f"ids are 0 to {len(self.pieces) - 1} in this vocabulary, got {token}")
        return self.pieces[token]

    def id(self, piece: str) -> int:
        """The id of a piece. Raises ValueError for a piece that is not in the vocabulary."""
        if piece not in self._ids:
            raise ValueError(f"no piece {piece!r} among the {len(self.pieces)} of this vocabulary")
        return self._ids[piece]

    def text(self, tokens: Iterable[int]) -> str:
        """The text of the ids: words with one space between, none at the ends ("none": joined pieces)."""
        joined = "".join([self.piece(token) for token in tokens if token not in self.special])
        if self.boundary == "none":
            return joined
        if self.boundary == "sentencepiece":
            joined = BYTES.sub(lambda match: _bytes(match).decode(errors="replace"), joined.replace(WORD_MARK, " "))
        return " ".join(word for word in joined.split(" ") if word)

    @cached_property
    def spellings(self) -> tuple[bytes, ...]:
        """What every id adds to the text, in UTF-8; special ids add nothing.

        A boundary between words is a space; with boundary "none" there are none, and a space is a character.
        """
        return tuple(b"" if token in self.special else self._spell(piece) for token, piece in enumerate(self.pieces))

    def _spell(self, piece: str) -> bytes:
        if self.boundary != "sentencepiece":
            return piece.encode()
        if BYTES.fullmatch(piece):
            return _bytes(piece)
        return piece.replace(WORD_MARK, " ").encode()

    def words(self, tokens: Iterable[int], frames: Iterable[tuple[int, int]]) -> tuple[Word, ...]:
        """The words of the text, from the first frame of their first letters to the last of their last.

        frames: (first, last + 1) of each token. Where there are no word boundaries, there are no words.
        """
        if self.boundary == "none":
            return ()
        found: list[Word] = []
        spelt, first, last = b"", 0, 0
        for token, (start, end) in zip(tokens, frames, strict=True):
            before, *after = self.spellings[token].split(b" ")
            if before:
                first, last = first if spelt else start, end
                spelt += before
            for part in after:  # each begins a word
                if spelt:
                    found.append(Word(spelt.decode(errors="replace"), first, last))
                spelt, first, last = part, start, end
        if spelt:
            found.append(Word(spelt.decode(errors="replace"), first, last))
        return tuple(found)


def _bytes(pieces: str | re.Match[str]) -> bytes:
    """<0xEA><0xB0><0x80> -> EA B0 80."""
    text = pieces if isinstance(pieces, str) else pieces[0]
    return bytes.fromhex(text.replace("<0x", "").replace(">", ""))
