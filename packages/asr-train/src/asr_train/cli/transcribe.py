"""asr-train transcribe."""

import json
from pathlib import Path

import click

from asr_train.cli.options import Search, load, search_options

FORMATS = ("txt", "tsv", "json")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("audio", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="AUDIO...")
@search_options
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="txt",
    show_default=True,
    help="txt: the text alone (with the file's name when there are several); tsv; json: one object a line.",
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    help="Write a file for each audio file, instead of printing.",
)
def command(model: Path, audio: tuple[Path, ...], search: Search, form: str, output_dir: Path | None) -> int:
    """Write what is said in audio files of any rate: wav, flac, mp3, ogg, or headerless 16-bit .pcm at 16 kHz.

    A file that cannot be read is named on standard error, the others are transcribed all the same, and the exit
    status is 1; when no file can be read it is 2.
    """

    _check_names(audio, output_dir)
    readable, failed = _readable(audio)
    if not readable:
        return 2
    recognizer = load(model, search)
    for path in readable:
        try:
            found = recognizer.transcribe(path)
        except (OSError, ValueError) as error:
            _complain(path, error)
            failed += 1
            continue
        line = _line(form, path, found.text, found.hypotheses[0].score, found.seconds, alone=len(audio) == 1)
        if output_dir is None:
            click.echo(line)
        else:
            output_dir.mkdir(parents=True, exist_ok=True)
            (output_dir / f"{path.stem}.{form}").write_text(line + "\n", encoding="utf-8")
    return 1 if failed else 0


def _check_names(audio: tuple[Path, ...], output_dir: Path | None) -> None:
    """No file of `output_dir` may be that of two audio files."""
    from asr_train.errors import UserError

    named: dict[str, Path] = {}
    for path in audio if output_dir is not None else ():
        other = named.setdefault(path.stem, path)
        if other is not path:
            raise UserError(
                f"{other} and {path} would be written to one file of {output_dir}; give one folder at a time"
            )


def _readable(audio: tuple[Path, ...]) -> tuple[list[Path], int]:
    """The files whose headers can be read, before a model is loaded; the others are named."""
    import asr_features

    readable, failed = [], 0
    for path in audio:
        try:
            asr_features.info(path)
        except (OSError, ValueError) as error:
            _complain(path, error)
            failed += 1
        else:
            readable.append(path)
    return readable, failed


def _complain(path: Path, error: Exception) -> None:
    text = str(error)
    click.echo(f"asr-train: {text if str(path) in text else f'{path}: {text}'}", err=True)


def _line(form: str, path: Path, text: str, score: float, seconds: float, *, alone: bool) -> str:
    if form == "json":
        values = {"audio": str(path), "text": text, "score": score, "seconds": round(seconds, 3)}
        return json.dumps(values, ensure_ascii=False)
    return text if form == "txt" and alone else f"{path}\t{text}"
