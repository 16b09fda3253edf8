"""Break one file in a hundred of a training set, train, and see that all of them, and no others, are left out.

    python packages/asr-train/tools/bad_files.py TRAIN.tsv DEV.tsv OUT --config digits-deepspeech2
    python packages/asr-train/tools/bad_files.py TRAIN.tsv DEV.tsv OUT --clean runs/digits

OUT gets train.tsv, in which some utterances have audio that is cut short, missing, empty, no audio at all, shorter than
a frame, or not finite; broken.tsv, which of them, and how; a run on it; and one on TRAIN.tsv, unless a finished one is
given by --clean, whose configuration is then that of both. TRAIN.tsv and its audio stay as they are. It passes when the
quarantine lists exactly what was broken, and the CER on DEV.tsv is within half a point of the clean run's. Prints JSON,
and writes it to OUT/result.json. Called again, it goes on where it was ended.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import asr_features
from asr_train import recipes
from asr_train.config_file import read_config
from asr_train.files import write_whole
from asr_train.manifest import Utterance, measure, read_manifest, write_manifest
from asr_train.quarantine import HEADER

WITHIN = 0.005
"""So far may the CER be from that of the clean run."""


def cut_short(utterance: Utterance, path: Path) -> None:
    """The beginning of a FLAC file, whose header promises all of it."""
    samples = asr_features.read(utterance.audio)
    whole = path.with_suffix(".whole.flac")
    soundfile.write(whole, samples, soundfile.info(utterance.audio).samplerate, "PCM_16")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    whole.unlink()


def missing(utterance: Utterance, path: Path) -> None:
    """Nothing at all."""


def empty(utterance: Utterance, path: Path) -> None:
    path.touch()


def no_audio(utterance: Utterance, path: Path) -> None:
    path.write_text("This is a text.\n" * 200, encoding="utf-8")


def too_short(utterance: Utterance, path: Path) -> None:
    """Less than a frame."""
    soundfile.write(path, np.full(10, 0.1), soundfile.info(utterance.audio).samplerate, format="WAV")


def not_finite(utterance: Utterance, path: Path) -> None:
    """One sample of a second is no number."""
    rate = soundfile.info(utterance.audio).samplerate
    samples = np.zeros(rate, np.float32)
    samples[rate // 2] = np.nan
    soundfile.write(path, samples, rate, "FLOAT", format="WAV")


WAYS: tuple[Callable[[Utterance, Path], None], ...] = (cut_short, missing, empty, no_audio, too_short, not_finite)


def break_some(
    utterances: Sequence[Utterance], folder: Path, *, share: float, longest: float, seed: int
) -> tuple[list[Utterance], dict[str, str]]:
    """The utterances, a share of them (at least three) with broken copies of their audio; and how, by id.

    All have the durations of whole files: a run must find out by reading. Longer ones than `longest` seconds, which
    a run leaves out in any case, stay whole.
    """
    known = measure(utterances)
    short = [n for n, utterance in enumerate(known) if (utterance.seconds or 0.0) <= longest]
    count = max(round(share * len(known)), 3)
    if count >= len(short):
        raise SystemExit(f"expected more than {count} utterances of at most {longest:g} s, got {len(short)}")
    broken: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for place, number in enumerate(np.random.default_rng(seed).permutation(short)[:count].tolist()):
        way, utterance = WAYS[place % len(WAYS)], known[number]
        path = folder / f"{place:05d}{'.wav' if way in (too_short, not_finite) else '.flac'}"
        way(utterance, path)
        known[number] = replace(utterance, audio=path)
        broken[utterance.id] = way.__name__
    return known, broken


def listed(quarantine: Path) -> dict[str, str]:
    """The reasons of a quarantine.tsv, by id; none where there is no such file."""
    lines = quarantine.read_text(encoding="utf-8").splitlines() if quarantine.exists() else [HEADER]
    rows = [dict(zip(HEADER.split("\t"), line.split("\t"), strict=True)) for line in lines[1:]]
    return {row["Id"]: row["Reason"] for row in rows}


def asr_train(arguments: Sequence[str], *, listen: bool = False) -> str:
    """Run a command of asr-train in a process of its own; what it prints, if wanted."""
    command = [sys.executable, "-c", "from asr_train.cli import main; main()", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE if listen else None, text=True)
    if ended.returncode:
        raise SystemExit(f"asr-train {' '.join(arguments)}: ended with status {ended.returncode}")
    return ended.stdout or ""


def train(config: str, manifest: Path, dev: Path, output: Path, settings: Sequence[str]) -> float:
    """The CER on the development set of a run, which is begun, or gone on with."""
    changes = [part for setting in settings for part in ("--set", setting)]
    sets = ["--train", str(manifest), "--dev", str(dev), "--output", str(output), "--resume"]
    asr_train(["train", "--config", config, *sets, *changes])
    return score(output, dev)


def score(run: Path, dev: Path) -> float:
    found = json.loads(asr_train(["evaluate", str(run / "model"), str(dev), "--json"], listen=True))
    rate: float = found["cer"]["rate"]
    return rate


def compare(broken: dict[str, str], found: dict[str, str], clean_cer: float, cer: float) -> dict[str, Any]:
    """What came out, and whether it is as it should be."""
    return {
        "broken": len(broken),
        "by_kind": {way.__name__: list(broken.values()).count(way.__name__) for way in WAYS},
        "quarantined": len(found),
        "not_found": {one: kind for one, kind in broken.items() if one not in found},
        "wrongly_listed": {one: reason for one, reason in found.items() if one not in broken},
        "clean_dev_cer": clean_cer,
        "dev_cer": cer,
        "passed": broken.keys() == found.keys() and abs(cer - clean_cer) <= WITHIN,
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("dev", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", help="a YAML file or a recipe; default: that of the clean run")
    parser.add_argument("--clean", type=Path, help="a finished run on TRAIN, in place of one of its own")
    parser.add_argument("--share", type=float, default=0.01, help="of files that are broken (default: 0.01)")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of files")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="in both runs")
    options = parser.parse_args()
    if options.config is None and options.clean is None:
        parser.error("expected --config, or --clean")
    return options


def main() -> None:
    options = parse()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    out, dev = options.out.absolute(), options.dev.absolute()
    config = options.config or str(options.clean / "config.yaml")
    longest = read_config(recipes.find(config), tuple(options.settings)).data.max_seconds
    utterances = read_manifest(options.train.absolute())
    spoilt, broken = break_some(utterances, out / "broken", share=options.share, longest=longest, seed=options.seed)
    write_manifest(out / "train.tsv", spoilt)
    write_whole(out / "broken.tsv", ("\n".join(map("\t".join, [("Id", "Way"), *broken.items()])) + "\n").encode())

    allowed = f"data.max_bad={len(broken)}"
    cer = train(config, out / "train.tsv", dev, out / "run", [*options.settings, allowed])
    if options.clean is None:
        clean_cer = train(config, options.train.absolute(), dev, out / "clean", options.settings)
    else:
        clean_cer = score(options.clean, dev)
    result = compare(broken, listed(out / "run/quarantine.tsv"), clean_cer, cer)
    told = json.dumps(result, indent=2, ensure_ascii=False)
    write_whole(out / "result.json", f"{told}\n".encode())
    print(told)
    sys.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    main()
