"""Text to ids and back, by SentencePiece.

The tokenizers that are trained here have padding, which is also the CTC blank, at 0, unknown at 1, begin at 2
and end at 3. A SentencePiece model made elsewhere keeps its own ids: ask the tokenizer for them.
"""

import io
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import sentencepiece

from asr_train.errors import UserError
from asr_train.files import write_whole

KINDS = ("unigram", "bpe", "char")

_SPACE = "\u2581"  # how SentencePiece writes a space within pieces


def normalize(text: str) -> str:
    """The composed form (NFC), with single spaces between words: what `decode` gives back after `encode`."""
    return " ".join(unicodedata.normalize("NFC", text).split())


@dataclass(frozen=True)
class Tokenizer:
    """A SentencePiece model.

    Raises UserError when `model` is not one, or lacks one of the ids below.
    """

    model: bytes = field(repr=False)
    """The content of a SentencePiece model file."""

    def __post_init__(self) -> None:
        ids = {"pad_id": self.pad, "unk_id": self.unknown, "bos_id": self.begin, "eos_id": self.end}
        if missing := [name for name, id_ in ids.items() if id_ < 0]:
            raise UserError(
                f"the SentencePiece model lacks {', '.join(missing)}; padding (also the CTC blank), unknown, "
                f"begin and end are all needed: train it again with --{missing[0]}=N"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A tokenizer from a SentencePiece model file. Raises UserError when there is none at `path`."""
        try:
            return cls(Path(path).read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such tokenizer") from None
        except OSError as error:
            raise UserError(f"{path}: the tokenizer cannot be read: {error.strerror}") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, whole or not at all. Raises OSError."""
        write_whole(path, self.model)

    @classmethod
    def train(cls, texts: Iterable[str], *, kind: str = "unigram", vocab_size: int = 1000) -> Self:
        """Learn pieces from texts. There is no chance in it: equal texts give equal bytes.

        Args:
            texts: at least one that is not empty; all of them are used, however long.
            kind: "unigram" (Kudo, Subword Regularization, 2018), "bpe" (Sennrich et al., 2016), or "char".
            vocab_size: the pieces wanted, special ones included. Texts that are too few for so many give
                fewer: see `size`. A "char" tokenizer has every character of the texts, whatever this is.

        Raises:
            UserError: the texts are empty or all of one character, or have more characters than `vocab_size`.
        """
        if kind not in KINDS:
            raise UserError(f"expected a tokenizer of the kind {', '.join(KINDS)}, got {kind!r}")
        if isinstance(texts, str):
            raise UserError("expected many texts to train a tokenizer on, got a single string")
        lines = [line for text in texts if (line := normalize(text))]
        vocab_size = _possible_size(lines, kind, vocab_size)
        model = io.BytesIO()
        try:
            sizes = [len(line.encode()) for line in lines]
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=kind,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                pad_id=0,
                unk_id=1,
                bos_id=2,
                eos_id=3,
                character_coverage=1.0,
                normalization_rule_name="identity",  # by default SentencePiece rewrites the text (NFKC)
                max_sentence_length=max(4192, *sizes),  # longer ones would be left out
                minloglevel=2,
            )
        except (RuntimeError, UnicodeEncodeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"SentencePiece cannot train on these texts: {reason}") from None
        return cls(model.getvalue())

    @property
    def size(self) -> int:
        """The number of pieces, V; ids are 0 to V - 1."""
        return int(self._processor.get_piece_size())

    @property
    def pad(self) -> int:
        """The id of padding, and of the CTC blank."""
        return int(self._processor.pad_id())

    @property
    def unknown(self) -> int:
        """The id of what no piece stands for."""
        return int(self._processor.unk_id())

    @property
    def begin(self) -> int:
        """The id before the first piece, where a speller begins."""
        return int(self._processor.bos_id())

    @property
    def end(self) -> int:
        """The id after the last piece, where a speller ends."""
        return int(self._processor.eos_id())

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The pieces by id, `(V,)`; U+2581 stands for a space."""
        return tuple(self._processor.id_to_piece(id_) for id_ in range(self.size))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without begin and end."""
        return list(self._processor.encode(normalize(text)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; padding, begin and end say nothing, and unknown is " \u2047 ".

        Equal to `normalize(text)` after `encode(text)` when all characters of the text have pieces. Raises
        ValueError for ids that are not below `size`.
        """
        numbers = [int(id_) for id_ in ids]
        for id_ in numbers:
            if not 0 <= id_ < self.size:
                raise ValueError(f"expected ids from 0 to {self.size - 1}, got {id_}")
        return str(self._processor.decode(numbers))

    @cached_property
    def _processor(self) -> Any:
        try:
            if self.model:  # no bytes at all would load, as a model of no pieces
                return sentencepiece.SentencePieceProcessor(model_proto=self.model)
        except RuntimeError:
            pass
        raise UserError("this is not a SentencePiece model")


def _possible_size(lines: Sequence[str], kind: str, vocab_size: int) -> int:
    """The vocabulary to ask SentencePiece for: no smaller than the characters of the texts."""
    characters = set().union(*lines) - {" "} | {_SPACE}
    if len(characters) < 3:
        raise UserError("the texts to train a tokenizer on hold fewer than two different characters")
    least = len(characters) + 4  # padding, unknown, begin, end
    if kind == "char":
        return least
    if vocab_size < least:
        raise UserError(
            f"vocab_size is {vocab_size}, but the texts hold {len(characters)} different characters, spaces "
            f"included, and four special pieces are needed; make it {least} or more"
        )
    return vocab_size
