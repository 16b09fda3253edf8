"""How well digits are recognised of a speaker whom training never heard, and what helps.

    python packages/asr-train/tools/unheard_speaker.py data RECORDINGS OUT --speakers jackson lucas
    python packages/asr-train/tools/unheard_speaker.py run OUT --speakers jackson --conditions none recipe all
    python packages/asr-train/tools/unheard_speaker.py run OUT --conditions none noise all --after none --epochs 4
    python packages/asr-train/tools/unheard_speaker.py table OUT

RECORDINGS holds single digits, {digit}_{speaker}_{take}.flac or .wav at 8 kHz, such as those of the Free Spoken Digit
Dataset. For each speaker, OUT/{speaker} gets strings of one to seven digits: train.tsv, dev.tsv and heard.tsv of the
others, with no take in two of them, and unheard.tsv of that speaker alone. OUT/synth.tsv has such strings of many
synthesised speakers. `run` trains and scores one condition after another, goes on where it was ended, and leaves out
what is done; several may run at once, on conditions of their own. Each of them keeps OUT/table.md up to date. With
`--after`, runs begin with the weights of another condition's run, so that a few epochs tell the conditions apart.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_train.corpora.synth import DIGITS, synthesize, voices
from asr_train.files import write_whole
from asr_train.manifest import Utterance, read_manifest, write_manifest

Floats = NDArray[np.float32]
Takes = Mapping[str, Sequence[Sequence[Floats]]]
"""Recordings by speaker and digit."""

RATE = 8000  # Hz
WORDS = DIGITS["en"]
MOST_DIGITS = 7
SPLITS = {"heard": (0, 5), "dev": (5, 8), "train": (8, None)}
"""Of the other speakers' takes of each digit: which are whose."""
SIZES = {"train": 4000, "dev": 300, "heard": 300, "unheard": 300, "synth": 2000}
"""Strings in each manifest."""

MASKS, SPEEDS = "augment.spec_augment=null", "augment.speed=[1.0]"
PITCH = "augment.pitch=[0.8, 0.9, 1.0, 1.1, 1.25]"
NOISE = "augment.noise={probability: 0.5, snr: [5.0, 30.0]}"
CONDITIONS: dict[str, tuple[str, ...]] = {
    "none": (MASKS, SPEEDS),
    "global": (MASKS, SPEEDS, "data.normalize=global"),
    "spec": (SPEEDS,),
    "speed": (MASKS,),
    "pitch": (MASKS, SPEEDS, PITCH),
    "noise": (MASKS, SPEEDS, NOISE),
    "synth": (MASKS, SPEEDS),
    "recipe": (),
    "all": (PITCH, NOISE),
}
"""What is changed of the recipe, which has SpecAugment and three speeds."""
TOLD = {
    "none": "none",
    "global": "none, and the corpus' mean and variance, not the utterance's",
    "spec": "SpecAugment",
    "speed": "speed",
    "pitch": "pitch",
    "noise": "noise",
    "synth": "synthesised speakers",
    "recipe": "SpecAugment and speed",
    "all": "all of these",
}
SYNTHESISED = ("synth", "all")
FAMILIES = ("deepspeech2", "las")
SETS = ("heard", "unheard")
SEARCHES: dict[str, dict[str, tuple[str, ...]]] = {
    "deepspeech2": {"greedy": ()},
    "las": {"greedy": (), "beam": ("--beam-size", "8")},
}
"""How each family is decoded: a LAS loses its place with new speakers, and finds it with the CTC in its beam."""


def read_takes(folder: Path) -> Takes:
    """All recordings of a folder, each speaker's takes of a digit in their order."""
    found: dict[str, list[list[tuple[int, Path]]]] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".flac", ".wav")):
        digit, speaker, take = path.stem.rsplit("_", 2)
        found.setdefault(speaker, [[] for _ in WORDS])[int(digit)].append((int(take), path))
    if not found:
        raise SystemExit(f"{folder}: expected recordings {{digit}}_{{speaker}}_{{take}}.flac or .wav, found none")
    return {name: [[read(path) for _, path in sorted(of)] for of in digits] for name, digits in found.items()}


def read(path: Path) -> Floats:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        raise SystemExit(f"{path}: expected {RATE} Hz, got {rate}")
    mono: Floats = samples.mean(axis=1)
    return mono


def divide(takes: Takes, speaker: str) -> dict[str, Takes]:
    """The takes of each set, when one speaker is left out."""
    if speaker not in takes or len(takes) < 2:
        raise SystemExit(f"expected one of the speakers {', '.join(takes)}, and another beside, got {speaker!r}")
    others = {name: digits for name, digits in takes.items() if name != speaker}
    sets: dict[str, Takes] = {
        split: {name: [of[slice(*bounds)] for of in digits] for name, digits in others.items()}
        for split, bounds in SPLITS.items()
    }
    return {**sets, "unheard": {speaker: takes[speaker]}}


def synthetic_takes(speakers: int, rng: np.random.Generator) -> Takes:
    """One take of every digit by each of so many synthesised speakers.

    All of eSpeak NG's throats and accents of English in turn, each time with another pitch, melody and rate: half an
    octave either way, and from slow to fast.
    """
    known, made = voices("en"), {}
    for n in range(speakers):
        if n % len(known) == 0:
            order = rng.permutation(len(known))
        pitch, range_, rate = rng.integers((20, 25, 110), (80, 75, 220), endpoint=True).tolist()
        voice = replace(known[order[n % len(known)]], pitch=pitch, range=range_, rate=rate)
        made[f"{voice.speaker}-{n}"] = [[synthesize(word, voice, sample_rate=RATE)] for word in WORDS]
    return made


def write_strings(manifest: Path, takes: Takes, count: int, rng: np.random.Generator) -> None:
    """Strings of digits by one speaker each, in a folder beside the manifest, which is written last."""
    folder, speakers, utterances = manifest.with_suffix(""), sorted(takes), []
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        speaker = speakers[int(rng.integers(len(speakers)))]
        digits = rng.integers(len(WORDS), size=int(rng.integers(1, MOST_DIGITS + 1))).tolist()
        samples = join([takes[speaker][d][int(rng.integers(len(takes[speaker][d])))] for d in digits], rng)
        path = folder / f"{n:05d}.flac"
        soundfile.write(path, samples, RATE, "PCM_16")
        text, seconds = " ".join(WORDS[d] for d in digits), len(samples) / RATE
        name = f"{folder.name}/{path.name}"
        utterances.append(Utterance(id=name, audio=path, text=text, seconds=seconds, speaker=speaker))
    write_manifest(manifest, utterances)


def join(takes: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Takes after a pause, with pauses between and after them, at some level, and faint noise over it all."""
    parts = [np.zeros(int(RATE * rng.uniform(0.05, 0.25)), np.float32)]
    for take in takes:
        parts += [take, np.zeros(int(RATE * rng.uniform(0.0, 0.2)), np.float32)]
    samples = np.concatenate(parts)
    samples *= 10 ** (rng.uniform(-18, -1) / 20) / max(float(np.abs(samples).max()), 1e-4)
    return np.clip(samples + rng.normal(0, 1e-3, len(samples)).astype(np.float32), -1, 1)


def make_data(recordings: Path, out: Path, speakers: Sequence[str], sizes: Mapping[str, int], seed: int) -> None:
    """The manifests of every fold, and the one of synthesised speakers that they share; what is there is left alone."""
    takes = read_takes(recordings)
    for speaker in speakers:
        for number, (name, of) in enumerate(divide(takes, speaker).items()):
            manifest = out / speaker / f"{name}.tsv"
            if not manifest.is_file():
                write_strings(manifest, of, sizes[name], np.random.default_rng((seed, number)))
    manifest, rng = out / "synth.tsv", np.random.default_rng((seed, len(SPLITS) + 1))
    if sizes["synth"] and not manifest.is_file():
        write_strings(manifest, synthetic_takes(max(sizes["synth"] // 4, 1), rng), sizes["synth"], rng)
    for manifest in sorted([*out.glob("*.tsv"), *out.glob("*/*.tsv")]):
        found = read_manifest(manifest)
        hours = sum(u.seconds or 0.0 for u in found) / 3600
        print(f"{manifest}: {len(found)} strings of {len({u.speaker for u in found})} speakers, {hours:.2f} hours")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One run: a recipe with a condition's changes, trained on the speakers that are not left out."""

    out: Path
    speaker: str
    family: str
    condition: str
    after: str | None = None
    """The condition whose weights it begins with."""

    @property
    def folder(self) -> Path:
        name = f"{self.after}-then-{self.condition}" if self.after else self.condition
        return self.out / self.speaker / "runs" / f"{self.family}-{name}"

    @property
    def told(self) -> str:
        return f"{TOLD[self.after]}, then {TOLD[self.condition]}" if self.after else TOLD[self.condition]

    @property
    def model(self) -> Path:
        return self.folder / "run/model"

    def scores(self, name: str, search: str) -> Path:
        """Of "heard" or "unheard" by one of the family's searches, once there."""
        return self.folder / f"{name}-{search}.json"

    @property
    def done(self) -> bool:
        return all(self.scores(name, search).is_file() for name in SETS for search in SEARCHES[self.family])

    def training(self, settings: Sequence[str]) -> list[str]:
        """The arguments of asr-train that begin the run, or go on with it."""
        data = self.out / self.speaker
        trained_on = [data / "train.tsv"] + [self.out / "synth.tsv"] * (self.condition in SYNTHESISED)
        begin = [f"train.init_from={replace(self, after=None, condition=self.after).model}"] if self.after else []
        changes = [part for one in (*CONDITIONS[self.condition], *begin, *settings) for part in ("--set", one)]
        manifests = [part for path in trained_on for part in ("--train", str(path))]
        sets = [*manifests, "--dev", str(data / "dev.tsv"), "--output", str(self.folder / "run"), "--resume"]
        return ["train", "--config", f"digits-{self.family}", *sets, *changes]

    def run(self, settings: Sequence[str]) -> None:
        """Train and score, as far as that is not done yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        asr_train(self.training(settings))
        for name, (search, options) in product(SETS, SEARCHES[self.family].items()):
            manifest = str(self.out / self.speaker / f"{name}.tsv")
            found = asr_train(["evaluate", str(self.model), manifest, "--json", *options], listen=True)
            write_whole(self.scores(name, search), found.encode())

    def rows(self) -> list[str]:
        """Of the table, one for each search."""
        return [self._row(search) for search in SEARCHES[self.family]]

    def _row(self, search: str) -> str:
        rates = [json.loads(self.scores(name, search).read_text(encoding="utf-8"))["wer"]["rate"] for name in SETS]
        lines = (self.folder / "run/train.log").read_text(encoding="utf-8").splitlines()
        epochs = [event for event in map(json.loads, lines) if event["event"] == "epoch"]
        cells = [self.told, self.family, search, *(f"{rate:.2%}" for rate in rates)]
        cells += [str(epochs[-1]["epoch"]), f"{epochs[-1]['seconds'] / 60:.0f}"]
        return f"| {self.speaker} | {' | '.join(cells)} |"


def asr_train(arguments: Sequence[str], *, listen: bool = False) -> str:
    """Run a command of asr-train in a process of its own; what it prints, if wanted."""
    command = [sys.executable, "-c", "from asr_train.cli import main; main()", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE if listen else None, text=True)
    if ended.returncode:
        raise SystemExit(f"asr-train {' '.join(arguments)}: ended with status {ended.returncode}")
    return ended.stdout or ""


def experiments(
    out: Path,
    speakers: Sequence[str] | None,
    families: Sequence[str],
    conditions: Sequence[str],
    after: str | None = None,
) -> Iterator[Experiment]:
    """In the order in which they are run: a condition for every speaker and family, then the next one."""
    known = sorted(path.parent.name for path in out.glob("*/unheard.tsv"))
    unknown = set(speakers or known) - set(known)
    if unknown or not known:
        raise SystemExit(f"{out}: no data for {', '.join(sorted(unknown)) or 'any speaker'}; make them with `data`")
    for condition in conditions:
        for speaker in speakers or known:
            for family in families:
                yield Experiment(out=out, speaker=speaker, family=family, condition=condition, after=after)


def write_table(out: Path) -> str:
    """The Markdown of all that is done, also in OUT/table.md."""
    head = ["speaker left out", "condition", "family", "search", "heard WER", "unheard WER", "epochs", "minutes"]
    lines = [f"| {' | '.join(head)} |", "|---|---|---|---|--:|--:|--:|--:|"]
    before = (None, *CONDITIONS)
    done = sorted(
        (one for after in before for one in experiments(out, None, FAMILIES, tuple(CONDITIONS), after) if one.done),
        key=lambda one: (one.speaker, one.family),
    )
    table = "\n".join([*lines, *(row for one in done for row in one.rows())]) + "\n"
    write_whole(out / "table.md", table.encode())
    return table


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="write the manifests and their audio")
    data.add_argument("recordings", type=Path)
    data.add_argument("out", type=Path)
    data.add_argument("--speakers", nargs="+", required=True, help="who is left out, each in turn")
    data.add_argument("--seed", type=int, default=1)
    for name, size in SIZES.items():
        data.add_argument(f"--{name}", type=int, default=size, help=f"strings in {name}.tsv (default: {size})")
    run = commands.add_parser("run", help="train and score what is not done yet")
    run.add_argument("out", type=Path)
    run.add_argument("--speakers", nargs="+", help="default: all that there are data for")
    run.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    run.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=tuple(CONDITIONS))
    run.add_argument("--after", choices=CONDITIONS, help="begin with the weights of that condition's runs")
    run.add_argument("--epochs", type=int, help="default: as in the recipe")
    run.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="in every run")
    commands.add_parser("table", help="print the table of what is done").add_argument("out", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse()
    out = options.out.absolute()
    if options.command == "data":
        sizes = {name: getattr(options, name) for name in SIZES}
        make_data(options.recordings, out, options.speakers, sizes, options.seed)
        return
    if options.command == "run":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        settings = [*options.settings, *([f"train.epochs={options.epochs}"] if options.epochs else [])]
        for one in experiments(out, options.speakers, options.families, options.conditions, options.after):
            if not one.done:
                print(f"{one.speaker}: {one.family}, {one.told}", flush=True)
                one.run(settings)
                write_table(out)
    print(write_table(out), end="")


if __name__ == "__main__":
    main()
