"""N-gram language models without KenLM: `NGram` reads its files, `estimate` makes one from text."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr_decoders.ngram.kneser_ney import estimate
    from asr_decoders.ngram.model import NGram

__all__ = ["NGram", "estimate"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for: a decoder without an n-gram model does without the readers."""
    if name == "NGram":
        from asr_decoders.ngram.model import NGram

        return NGram
    if name == "estimate":
        from asr_decoders.ngram.kneser_ney import estimate

        return estimate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
