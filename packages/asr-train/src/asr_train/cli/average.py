"""asr-train average."""

from pathlib import Path

import click


@click.command()
@click.argument(
    "checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path, file_okay=False), metavar="CHECKPOINT..."
)
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The model folder to write.")
def command(checkpoints: tuple[Path, ...], output: Path) -> None:
    """Average the weights of checkpoints into one model folder.

    Checkpoints are RUN/checkpoints/step-N; model folders may be averaged, too. Of a run with moving averages those are
    taken.
    """
    from asr_train.averaging import average

    average(checkpoints, output)
    click.echo(f"The mean of {len(checkpoints)} is in {output}.")
