"""The command line: one file a subcommand, imported when it is called; parse, call, print.

Exit status: 0 done, 1 some input failed (each is named), 2 wrong use, 130 interrupted, 143 asked to end by SIGTERM.
"""

import os
import sys
from importlib import import_module
from typing import Any

import click

from asr_train import __version__
from asr_train.errors import UserError
from asr_train.stopping import Stopped

COMMANDS = {
    "quickstart": "Synthesise a small corpus, train on it, evaluate and transcribe.",
    "tokenizer": "Train a SentencePiece tokenizer on the texts of manifests.",
    "lm": "Estimate a language model of the texts of manifests or files.",
    "records": "Write features and tokens to TFRecords.",
    "train": "Train a recogniser, or resume a run.",
    "average": "Average checkpoints into one model folder.",
    "evaluate": "Score a recogniser on manifests.",
    "transcribe": "Write what is said in audio files.",
}


class Commands(click.Group):
    """Subcommands that are imported when they are called: listing them costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            ctx.fail(f"no such command {cmd_name!r}; the commands are {', '.join(COMMANDS)}")
        command: click.Command = import_module(f"asr_train.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="Show where in the program an error arose.")
@click.version_option(__version__)
def asr_train(traceback: bool) -> None:
    """Train, evaluate and use speech recognisers (Listen-Attend-Spell and DeepSpeech2)."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its status."""
    # Read when TensorFlow and Keras are imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # another may be set for other programs; the models have this one only
    sys.exit(status(sys.argv[1:] if arguments is None else arguments))


def status(arguments: list[str]) -> int:
    """Run the command line and return its exit status; an error is one line on standard error."""
    try:
        result: Any = asr_train.main(arguments, prog_name="asr-train", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except Stopped as stopped:
        click.echo(f"asr-train: {stopped}; continue with --resume", err=True)
        return stopped.status
    except click.exceptions.Abort:
        click.echo("asr-train: interrupted", err=True)
        return 130
    except click.ClickException as error:
        click.echo(f"asr-train: {error.format_message().rstrip('.')}; see `asr-train --help`", err=True)
        return 2
    except BrokenPipeError:  # whoever read our output has had enough
        return 141
    except (UserError, OSError) as error:
        if "--traceback" in arguments:
            raise
        click.echo(f"asr-train: {error}", err=True)
        return 2
