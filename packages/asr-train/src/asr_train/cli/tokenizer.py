"""asr-train tokenizer."""

from pathlib import Path

import click


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The model file to write.")
@click.option("--kind", type=click.Choice(["unigram", "bpe", "char"]), default="unigram", show_default=True)
@click.option(
    "--vocab-size",
    type=click.IntRange(min=5),
    default=1000,
    show_default=True,
    help="Not for char: it takes every character.",
)
def command(manifests: tuple[Path, ...], output: Path, kind: str, vocab_size: int) -> None:
    """Train a SentencePiece tokenizer on the texts of manifests.

    Ids: 0 padding and CTC blank, 1 unknown, 2 begin, 3 end.
    """
    from asr_train.errors import UserError
    from asr_train.manifest import read_manifest
    from asr_train.tokenizer import Tokenizer

    if output.exists():
        raise UserError(f"{output}: exists already; choose another --output")
    texts = [utterance.text for path in manifests for utterance in read_manifest(path)]
    tokenizer = Tokenizer.train(texts, kind=kind, vocab_size=vocab_size)
    output.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(output)
    click.echo(f"{output}: {tokenizer.size} units from {len(texts)} texts")
