"""asr-train evaluate."""

import json
import sys
from pathlib import Path

import click

from asr_train.cli.options import Search, load, search_options


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@search_options
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A TSV file of every utterance with its errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: Path, manifests: tuple[Path, ...], search: Search, output: Path | None, as_json: bool) -> None:
    """Score a model folder on manifests: all errors over all words, and over all characters."""
    from asr_train.manifest import measure, read_manifest

    utterances = measure([utterance for path in manifests for utterance in read_manifest(path)])
    recognizer = load(model, search)

    from tqdm import tqdm

    from asr_train.evaluation import evaluate, write_table

    with tqdm(total=len(utterances), unit="utt", leave=False, disable=not sys.stderr.isatty()) as bar:
        result = evaluate(recognizer, utterances, progress=bar.update)
    if output is not None:
        write_table(result, output)
    if as_json:
        click.echo(json.dumps(result.summary()))
        return
    for name, found in (("WER", result.words), ("CER", result.characters)):
        click.echo(
            f"{name} {found.rate:.2%}  {found.total} errors in {found.reference}: {found.substitutions} substitutions, "
            f"{found.deletions} deletions, {found.insertions} insertions"
        )
    click.echo(
        f"{result.exact:.1%} of {len(result.scored)} utterances exactly right; "
        f"{result.seconds:.0f} s of audio in {result.spent:.1f} s"
    )
