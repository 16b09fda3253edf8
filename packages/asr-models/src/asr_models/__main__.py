"""`python -m asr_models describe las-small`: the parts of a model, their parameters, what an output hears.

python -m asr_models presets             the names, each with its size and its frame rate
python -m asr_models show las-small      its configuration as JSON, which `describe` takes as a file too
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from asr_models.config_json import Config, from_json, to_json
from asr_models.describe import describe, parameters
from asr_models.presets import PRESETS


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for wrong use."""
    parser = argparse.ArgumentParser(
        prog="python -m asr_models", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    commands = parser.add_subparsers(dest="command", required=True)
    names = f"a preset ({', '.join(PRESETS)}) or a JSON file"
    commands.add_parser("presets", help="names, parameters with 80 features and 1000 entries, frames an output")
    for name, told in (("describe", "parts, parameters, receptive field"), ("show", "the configuration as JSON")):
        command = commands.add_parser(name, help=told)
        command.add_argument("name", help=names)
        if name == "describe":
            command.add_argument("--features", type=_positive, default=80, help="features a frame (80)")
            command.add_argument("--channels", type=_positive, default=1, help="3 with deltas as channels (1)")
            command.add_argument("--vocab-size", type=_positive, default=1000, help="entries of the vocabulary (1000)")
    given = parser.parse_args(arguments)
    if given.command == "presets":
        print(_presets())
        return 0
    try:
        config = _config(given.name)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.command == "show":
        print(to_json(config), end="")
    else:
        sizes = {"features": given.features, "vocab_size": given.vocab_size, "channels": given.channels}
        print(describe(config, **sizes))
    return 0


def _presets() -> str:
    counts = {name: parameters(config, features=80, vocab_size=1000) for name, config in PRESETS.items()}
    return "\n".join(
        f"{name:<28}{sum(counts[name].values()) / 1e6:>8.1f} M parameters, one output every {config.stride} frames"
        for name, config in PRESETS.items()
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _config(name: str) -> Config:
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"no preset and no file is called {name!r}; the presets are {', '.join(PRESETS)}")
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


if __name__ == "__main__":
    sys.exit(main())
