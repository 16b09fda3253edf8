"""asr-train lm."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import click


@click.command()
@click.argument("texts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="TEXT...")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The ARPA file to write.")
@click.option("--order", type=click.IntRange(1, 9), default=3, show_default=True, help="Words of the longest n-gram.")
@click.option(
    "--prune",
    type=click.IntRange(min=0),
    default=0,
    help="Leave out n-grams of order 2 and more seen so often or less.",
)
def command(texts: tuple[Path, ...], output: Path, order: int, prune: int) -> None:
    """Estimate a language model of words, for --lm, from the texts of manifests (.tsv) or of text files.

    A text file has a sentence a line and may be gzipped. Interpolated modified Kneser-Ney smoothing, as KenLM's lmplz.
    """
    from asr_decoders import estimate
    from asr_train.errors import UserError

    if output.exists():
        raise UserError(f"{output}: exists already; choose another --output")
    sentences = [words for path in texts for line in _lines(path) if (words := line.split())]
    try:
        # Where a text is too small to tell, the discounts are those of lmplz --discount_fallback.
        model = estimate(sentences, order=order, prune=(0, prune), discount_fallback=(0.5, 1.0, 1.5))
    except ValueError as error:
        raise UserError(f"{', '.join(map(str, texts))}: {error}") from None
    output.parent.mkdir(parents=True, exist_ok=True)
    model.write(output)
    count, different = sum(map(len, sentences)), len({word for words in sentences for word in words})
    click.echo(f"{output}: order {model.order}, {different} words, from {count} in {len(sentences)} sentences")


def _lines(path: Path) -> Iterator[str]:
    from asr_train.errors import UserError
    from asr_train.manifest import read_manifest
    from asr_train.tokenizer import normalize

    if path.suffix == ".tsv":
        yield from (normalize(utterance.text) for utterance in read_manifest(path))
        return
    try:
        with (
            gzip.open(path) if path.suffix == ".gz" else path.open("rb") as packed,
            io.TextIOWrapper(packed, "utf-8") as file,
        ):
            yield from map(normalize, file)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such text") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a text in UTF-8: {error}") from None
