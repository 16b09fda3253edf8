"""The language model and the hotwords of a search, as contexts: see `fusion.py`."""

from typing import Any, Literal

from asr_decoders.fusion import Context, Fusion
from asr_decoders.hotwords import HotwordContext, Hotwords
from asr_decoders.interfaces import LanguageModel
from asr_decoders.language import ModelContext, Scale, TokenContext, WordContext
from asr_decoders.ngram import NGram
from asr_decoders.vocabulary import Vocabulary

Level = Literal["word", "token"]


def fusion(
    vocabulary: Vocabulary | None,
    lm: NGram | LanguageModel[Any] | None,
    level: Level,
    scale: Scale,
    hotwords: Hotwords | None,
) -> Fusion | None:
    """All of them together, None where there are none. Raises ValueError where the vocabulary will not do."""
    phrases = () if hotwords is None else hotwords.phrases
    contexts: list[Context] = []
    if lm is not None:
        contexts.append(_language(vocabulary, lm, level, scale, [phrase for phrase, _ in phrases]))
    if phrases:
        if vocabulary is None:
            raise ValueError("hotwords are text and need a vocabulary, got None")
        contexts.append(HotwordContext(vocabulary, Hotwords(phrases)))
    return Fusion(contexts) if contexts else None


def _language(
    vocabulary: Vocabulary | None, lm: NGram | LanguageModel[Any], level: Level, scale: Scale, phrases: list[str]
) -> Context:
    if isinstance(lm, NGram):
        if vocabulary is None:
            raise ValueError("an n-gram model needs a vocabulary to know its words, got None")
        if level == "token":
            return TokenContext(vocabulary, lm, scale)
        return WordContext(vocabulary, lm, scale, phrases)
    if level == "word":
        raise ValueError(f'{type(lm).__name__} is a language model over token ids: it needs lm_level="token"')
    return ModelContext(lm, scale)
