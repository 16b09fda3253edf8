"""Kill runs at random moments, resume them, and compare the ends bit by bit with that of a run left in peace.

    python packages/asr-train/tools/kill_runs.py WORK --model deepspeech2 --runs 30

Every run is a process of its own that trains a narrow model on synthesised digits, saves after every step and is ended
by SIGKILL: every second one at any moment of its training, the others in the middle of a save. It passes when every
killed run resumes, and ends with the same bits in every array of its last checkpoint (weights, moments, counters) and
in the weights of its model folder. Linux and macOS.
"""

import argparse
import datetime
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from asr_train import checkpoint, cli
from asr_train.corpora.synth import write_corpus
from asr_train.files import read_arrays
from asr_train.quiet import import_tensorflow

MODELS: dict[str, dict[str, Any]] = {
    "deepspeech2": {
        "preset": "deepspeech2-small",
        "convolutions": [{"channels": 4, "kernel": [5, 5], "stride": [2, 2]}],
        "recurrent_layers": 1,
        "recurrent_units": 16,
    },
    "las": {
        "preset": "las-small",
        "listener_layers": 2,
        "listener_units": 12,
        "speller_units": 16,
        "embedding_units": 8,
        "attention_units": 12,
    },
}
TRAIN = {
    "epochs": 2,
    "warmup_steps": 3,
    "checkpoint_steps": 1,
    "deterministic": True,
    "keep_best": 1,
    "ema_decay": 0.9,
    "average": "last",
}
PATIENCE = 600.0
"""Seconds that a run may take."""


@dataclass(frozen=True)
class Place:
    """The files of one experiment."""

    work: Path
    model: str

    @property
    def config(self) -> Path:
        return self.work / f"{self.model}.yaml"

    def prepare(self, utterances: int) -> None:
        """A corpus and a configuration."""
        corpus = self.work / "corpus"
        if not (corpus / "train.tsv").is_file():
            write_corpus(corpus, train=utterances, dev=4, test=0, sample_rate=8000)
        values = {
            "features": {"preset": "kaldi-23", "sample_rate": 8000},
            "augment": {"speed": [0.9, 1.0, 1.1], "spec_augment": "LD"},
            "tokenizer": {"kind": "char"},
            "model": MODELS[self.model],
            "data": {"train": ["corpus/train.tsv"], "dev": ["corpus/dev.tsv"], "batch_seconds": 10, "buckets": 2},
            "decode": {"max_length_ratio": 0.2},
            "train": TRAIN,
        }
        self.config.write_text(yaml.safe_dump(values), encoding="utf-8")

    def start(self, output: Path, *, resume: bool = False) -> int:
        """The process of a run; its words go to a file beside its folder.

        It is forked from this one, which has loaded TensorFlow, and computed nothing with it.
        """
        sys.stdout.flush()
        process = os.fork()
        if process:
            return process
        said = os.open(output.with_suffix(".out"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        arguments = ["train", "--config", str(self.config), "--output", str(output)]
        os._exit(cli.status([*arguments, "--resume"] if resume else arguments))


def wait(process: int) -> int:
    """The exit status of a process, or minus the signal that ended it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise SystemExit(f"a run did not end within {PATIENCE:.0f} s")


def ended(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def begun(output: Path) -> bool:
    """Whether the run has made its first step; before, there is nothing to lose."""
    log = output / "train.log"
    return log.is_file() and '"event": "step"' in log.read_text(encoding="utf-8")


def saving(folder: Path) -> bool:
    return any(folder.glob(".*.partial"))


def kill(process: int, output: Path, rng: random.Random, seconds: float, *, in_save: bool) -> str | None:
    """End a run at a random moment of its training; in what it was hit, or None if it was over before."""
    while not begun(output):
        if ended(process):
            raise SystemExit(f"{output}: ended before its first step; see {output.with_suffix('.out')}")
        time.sleep(0.005)
    moment = time.monotonic() + rng.uniform(0.0, seconds)
    checkpoints = output / "checkpoints"
    while time.monotonic() < moment or (in_save and not saving(checkpoints)):
        if ended(process):
            os.waitpid(process, 0)
            return None
        if time.monotonic() < moment:
            time.sleep(0.002)
    if in_save:
        time.sleep(rng.uniform(0.0, 0.01))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "a save" if saving(checkpoints) else "training"


def fingerprint(output: Path) -> dict[str, str]:
    """The sums of all arrays at the end of a run, by group."""
    newest, complaints = checkpoint.newest(output / "checkpoints")
    if newest is None or complaints:
        raise SystemExit(f"{output}: its last checkpoint cannot be read: {complaints}")
    groups, progress = checkpoint.read(newest)
    sums = {name: digest(arrays) for name, arrays in groups.items()}
    sums["model folder"] = digest(read_arrays(output / "model/weights.safetensors"))
    sums["place"] = f"step {progress.step}, epoch {progress.epoch}, scores {progress.scores}"
    return sums


def digest(arrays: Any) -> str:
    whole = hashlib.sha256()
    for name in sorted(arrays):
        whole.update(name.encode() + str(arrays[name].dtype).encode() + arrays[name].tobytes())
    return whole.hexdigest()


def trained_seconds(output: Path) -> float:
    """Wall time from a run's first step to its end, from its log."""
    events = [json.loads(line) for line in (output / "train.log").read_text(encoding="utf-8").splitlines()]
    times = [(e["event"], datetime.datetime.fromisoformat(e["time"]).timestamp()) for e in events]
    return times[-1][1] - next(at for event, at in times if event == "step")


def experiment(place: Place, runs: int, rng: random.Random, *, first_in_save: bool) -> int:
    """One run left in peace, then the killed ones; how many of them failed."""
    whole = place.work / f"{place.model}-whole"
    shutil.rmtree(whole, ignore_errors=True)
    if wait(place.start(whole)):
        raise SystemExit(f"the run left in peace failed; see {whole.with_suffix('.out')}")
    expected, seconds = fingerprint(whole), trained_seconds(whole)
    print(f"{place.model}: {expected['place']}; {seconds:.1f} s of training", flush=True)

    hits: list[str] = []
    failures = afresh = 0
    while len(hits) < runs:
        output = place.work / f"{place.model}-killed"
        shutil.rmtree(output, ignore_errors=True)
        output.with_suffix(".out").unlink(missing_ok=True)
        hit = kill(place.start(output), output, rng, seconds, in_save=(len(hits) + first_in_save) % 2 == 1)
        if hit is None:
            continue
        newest, complaints = checkpoint.newest(output / "checkpoints")
        status = wait(place.start(output, resume=True))
        found = fingerprint(output) if status == 0 else {}
        differing = [name for name in expected if found.get(name) != expected[name]]
        failed = bool(status or differing)
        hits.append(hit)
        afresh += newest is None
        failures += failed
        verdict = f"FAILED: status {status}, other bits in {', '.join(differing)}" if failed else "same bits"
        at = ", ".join([newest.name if newest else "no checkpoint", *complaints])
        print(f"{len(hits):3d} killed in {hit:8s} resumed from {at}: {verdict}", flush=True)
        if failed:
            shutil.copytree(output, place.work / f"{place.model}-failed-{len(hits)}", dirs_exist_ok=True)
    where = f"{hits.count('a save')} of them in a save, {afresh} before any was done"
    print(f"{place.model}: {len(hits)} runs killed, {where}; {failures} failed", flush=True)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="a folder for the runs")
    parser.add_argument("--model", choices=[*MODELS, "both"], default="deepspeech2")
    parser.add_argument("--runs", type=int, default=30, help="how many are killed, of each model")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--utterances", type=int, default=24)
    options = parser.parse_args()

    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = "tensorflow", "3"
    models = list(MODELS) if options.model == "both" else [options.model]
    places, rng = [Place(options.work.absolute(), model) for model in models], random.Random(options.seed)
    for place in places:
        place.work.mkdir(parents=True, exist_ok=True)
        place.prepare(options.utterances)
    import_tensorflow()
    import asr_train.loop  # noqa: F401  # once, for all the processes

    gc.freeze()  # what is loaded stays: the collector of no process need look through it
    failures = [experiment(place, options.runs, rng, first_in_save=n % 2 == 1) for n, place in enumerate(places)]
    sys.exit(1 if any(failures) else 0)


if __name__ == "__main__":
    main()
