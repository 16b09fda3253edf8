"""The model folder: all that a recogniser is. Loading it runs no code from it."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asr_features
from asr_train.config import FRONTENDS, MODELS, DecodeConfig, kind_of, plain
from asr_train.config_file import build, read_part
from asr_train.errors import UserError
from asr_train.files import Arrays, read_arrays, write_arrays, writing
from asr_train.folders import check_folder, whole_folder
from asr_train.quiet import import_tensorflow
from asr_train.tokenizer import Tokenizer

if TYPE_CHECKING:
    from asr_train.recognizer import Recognizer

FORMAT = 1
FILES = ("config.json", "weights.safetensors", "tokenizer.model")
NORMALIZERS: dict[str, type] = {"utterance": asr_features.UtteranceNorm, "global": asr_features.GlobalNorm}


def save(folder: Path, recognizer: "Recognizer", card: str) -> None:
    """Write a recogniser, replacing the folder at once; `card` becomes its README.md.

    Raises:
        UserError: the disk is full, read-only or gone; the folder is as it was.
    """
    from asr_train.weights import arrays_of

    parts = {name: getattr(recognizer, name) for name in ("frontend", "normalize", "decode")}
    model = recognizer.family.model
    write(folder, {**parts, "model": model.config}, recognizer.tokenizer, arrays_of(model.variables), card)


def write(folder: Path, parts: Mapping[str, Any], tokenizer: Tokenizer, weights: Arrays, card: str) -> None:
    """As `save`, of parts as `check` gives them and weights by name."""
    normalize = parts["normalize"]
    config = {
        "format": FORMAT,
        "features": _part(parts["frontend"], FRONTENDS),
        "normalize": None if normalize is None else _part(normalize, NORMALIZERS),
        "model": _part(parts["model"], MODELS),
        "decode": dataclasses.asdict(parts["decode"]),
    }
    with writing(folder, "make room, or mend the disk, and do it again"), whole_folder(folder) as partial:
        (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        write_arrays(partial / "weights.safetensors", weights)
        tokenizer.save(partial / "tokenizer.model")
        (partial / "README.md").write_text(card, encoding="utf-8")


def load(folder: str | Path) -> "Recognizer":
    """Read a model folder.

    Raises:
        UserError: a file is missing, altered, or says something that this version does not know.
    """
    folder = Path(folder)
    parts, tokenizer = check(folder)
    import_tensorflow()

    from asr_train.families import build_family
    from asr_train.recognizer import Recognizer
    from asr_train.weights import assign

    family = build_family(parts["model"], features=parts["frontend"].dim, tokenizer=tokenizer)
    assign(family.model.variables, read_arrays(folder / "weights.safetensors"), str(folder / "weights.safetensors"))
    rest = {name: parts[name] for name in ("frontend", "normalize", "decode")}
    return Recognizer(**rest, family=family, tokenizer=tokenizer)


def check(folder: Path) -> tuple[dict[str, Any], Tokenizer]:
    """Everything about a model folder that needs no TensorFlow.

    Raises:
        UserError: as `load`.
    """
    if (folder / "model" / "config.json").is_file() and not (folder / "config.json").exists():
        raise UserError(f"{folder}: this is a run, not a model folder; did you mean {folder / 'model'}?")
    check_folder(folder, FILES)
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise UserError(
            f"{path}: expected format {FORMAT}, got {values.get('format') if isinstance(values, dict) else values!r}"
        )
    missing = [name for name in ("features", "normalize", "model", "decode") if name not in values]
    if missing:
        raise UserError(f"{path}: {', '.join(missing)} is missing")
    try:
        normalize = values["normalize"]
        parts = {
            "frontend": read_part(values["features"], FRONTENDS, {}, None, "features"),
            "normalize": normalize and read_part(normalize, NORMALIZERS, {}, None, "normalize"),
            "model": read_part(values["model"], MODELS, {}, None, "model"),
            "decode": build(DecodeConfig, values["decode"], ("decode",)),
        }
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return parts, Tokenizer.load(folder / "tokenizer.model")


def _part(part: Any, kinds: dict[str, type]) -> dict[str, Any]:
    return {"kind": kind_of(part, kinds), **plain(dataclasses.asdict(part))}
