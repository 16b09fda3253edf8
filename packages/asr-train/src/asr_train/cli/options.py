"""What several subcommands share."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from asr_decoders import NGram
    from asr_train.config import DecodeConfig
    from asr_train.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class Search:
    """The options of a search as they were given; None is as the model was trained to use."""

    beam_size: int | None
    lm: Path | None
    lm_weight: float | None
    word_bonus: float | None
    ctc_weight: float | None


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a search to a command, which takes them as one argument, `search`."""
    import functools

    @click.option(
        "--beam-size", type=click.IntRange(min=1), help="1 is greedy; otherwise as the model was trained to use."
    )
    @click.option(
        "--lm", type=click.Path(path_type=Path), help="An n-gram model of words: ARPA or KenLM. Needs a beam."
    )
    @click.option("--lm-weight", type=click.FloatRange(0, 10), help="Of the language model; 0.5 is usual.")
    @click.option("--word-bonus", type=click.FloatRange(-100, 100), help="Nats a word, with a language model.")
    @click.option("--ctc-weight", type=click.FloatRange(0, 1), help="Share of CTC in the beam of a LAS that has it.")
    @functools.wraps(command)
    def with_search(*arguments: Any, **named: Any) -> Any:
        search = Search(**{name: named.pop(name) for name in Search.__dataclass_fields__})
        return command(*arguments, **named, search=search)

    return with_search


def load(folder: Path, search: Search) -> "Recognizer":
    """The recogniser of a model folder that searches as asked.

    Raises:
        UserError: options that do not go together, found before TensorFlow is imported; the folder or the language
            model cannot be read.
    """
    from asr_train import model_dir

    parts, _ = model_dir.check(folder)
    given = {name: value for name, value in asdict(search).items() if value is not None and name != "lm"}
    decode: DecodeConfig = replace(parts["decode"], **given)
    _check(search, decode, has_ctc=getattr(parts["model"], "ctc_head", False))
    lm = None if search.lm is None else language_model(search.lm)
    return replace(model_dir.load(folder), decode=decode, lm=lm)


def _check(search: Search, decode: "DecodeConfig", *, has_ctc: bool) -> None:
    from asr_train.errors import UserError

    if search.lm is None and (search.lm_weight is not None or search.word_bonus is not None):
        raise UserError("--lm-weight and --word-bonus are for a language model: give one by --lm")
    if search.lm is not None and decode.beam_size == 1:
        raise UserError("--lm needs a beam, and this search is greedy: add --beam-size 16")
    if search.ctc_weight is not None and not (has_ctc and decode.beam_size > 1):
        what = "this search is greedy: add --beam-size 8" if has_ctc else "this model has none"
        raise UserError(f"--ctc-weight is for the beam search of a LAS with a CTC head; {what}")


def language_model(path: Path) -> "NGram":
    """Read one. Raises UserError."""
    from asr_decoders import NGram
    from asr_train.errors import UserError

    try:
        return NGram.read(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such language model; `asr-train lm` makes one") from None
    except (OSError, ValueError) as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
