"""asr-train quickstart."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="quickstart",
    show_default=True,
    help="A new folder.",
)
@click.option("--model", type=click.Choice(["deepspeech2", "las"]), default="deepspeech2", show_default=True)
@click.option("--language", type=click.Choice(["en", "ko"]), default="en", show_default=True)
@click.option(
    "--utterances",
    type=click.IntRange(min=16),
    default=1600,
    show_default=True,
    help="To train on; fewer is quicker and worse.",
)
def command(output: Path, model: str, language: str, utterances: int) -> None:
    """Synthesise a small corpus, train on it, evaluate and transcribe: a few minutes, no download.

    Needs eSpeak NG: pip install 'asr-train[synth]'.
    """
    from asr_train.quickstart import quickstart

    quickstart(output, model=model, language=language, utterances=utterances, say=click.echo)
