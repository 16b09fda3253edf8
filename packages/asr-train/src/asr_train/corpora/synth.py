"""A corpus of synthesised speech: of any size, with exact transcripts, and equal files from equal arguments.

Formant voices are far from human ones and far easier to recognise: a score on them says that the parts work
together, and no more.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr_features import resample
from asr_train.corpora import espeak
from asr_train.errors import UserError
from asr_train.manifest import Utterance, write_manifest

Floats = NDArray[np.float32]

# fmt: off
ACCENTS = {
    "en": ("en", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us",
           "en-us-nyc"),
    "ko": ("ko",),
}
"""eSpeak NG's voices of a language: accents, each with phonemes and rules of its own. "en" is British."""

DIGITS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "ko": ("공", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구"),
}
"""The words for 0 to 9."""

# Of eSpeak NG's variants (the throats of its voices) those where every digit of both languages is nearest to
# the same digit in five others, by dynamic time warping of mel cepstra; no near twins, robots and whispers.
MEN = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "Alex", "Denis", "Diogo", "Gene", "Mario", "Michael", "Nguyen",
    "Tweaky", "boris", "ed", "grandpa", "gustave", "iven2", "max", "pablo", "paul", "pedro", "quincy", "rob",
    "sandro", "victor",
)
WOMEN = ("f1", "f2", "f3", "f5", "Andrea", "aunty", "belinda", "grandma", "linda", "steph")
# fmt: on

SPLITS = ("train", "dev", "test")

_VOLUME = 40  # low enough that eSpeak NG's limiter leaves the loudest variants alone


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker, and how they speak. Raises UserError for values out of range."""

    language: str = "en-us"
    """One of eSpeak NG's, such as those in `ACCENTS`."""
    variant: str = ""
    """One of eSpeak NG's, such as those in `MEN` and `WOMEN`; "" is the language's own."""
    pitch: int = 50
    """0 to 99: from an octave below the variant's own to nearly one above."""
    range: int = 50
    """0 (monotonous) to 99: how far pitch moves."""
    rate: int = 175
    """Words a minute as eSpeak NG counts them, 80 to 450."""
    gap: int = 0
    """Pause between words, 0 to 100, in steps of 17 ms at the rate 175."""

    def __post_init__(self) -> None:
        limits = {"pitch": (0, 99), "range": (0, 99), "rate": (80, 450), "gap": (0, 100)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise UserError(f"{name} of a voice: expected an int from {least} to {most}, got {value!r}")

    @property
    def speaker(self) -> str:
        """Who speaks, however they do: "en-us+m3"."""
        return f"{self.language}+{self.variant}" if self.variant else self.language


def voices(language: str = "en", variants: Sequence[str] = MEN + WOMEN) -> list[Voice]:
    """A voice for every variant in every accent of a language: by default 304 of English, or 38 of Korean.

    Raises UserError when the language is not one of `ACCENTS`.
    """
    if language not in ACCENTS:
        raise UserError(f"expected one of the languages {', '.join(ACCENTS)}, got {language!r}")
    return [Voice(language=accent, variant=variant) for variant in variants for accent in ACCENTS[language]]


def synthesize(text: str, voice: Voice, *, sample_rate: int = 16000) -> Floats:
    """A text as speech: `(N,)` float32 in [-1, 1] at `sample_rate` Hz, with hardly any silence around it.

    Equal arguments give equal samples. Raises UserError when eSpeak NG is not installed, does not know the
    voice, or finds nothing to say in the text.
    """
    samples, rate = espeak.speak(
        text.replace("\0", " "),
        voice.language,
        voice.variant,
        rate=voice.rate,
        pitch=voice.pitch,
        range=voice.range,
        gap=voice.gap,
        volume=_VOLUME,
    )
    if not samples.any():
        raise UserError(f"eSpeak NG finds nothing to say in {text!r}")
    return resample(samples.astype(np.float32) / 32768, rate, sample_rate)


def write_corpus(
    output: str | PathLike[str],
    *,
    language: str = "en",
    train: int = 2000,
    dev: int = 200,
    test: int = 200,
    seed: int = 1,
    sample_rate: int = 16000,
    texts: Sequence[str] | None = None,
) -> dict[str, Path]:
    """Write FLAC files and `output/train.tsv`, `dev.tsv` and `test.tsv`, with seconds and speakers.

    No speaker, and no variant of a voice, is in two splits. Pitch, melody, rate, pauses, level, noise and the
    silence around the speech differ from utterance to utterance. Equal arguments give equal files, and
    another number of utterances in `train` changes nothing in dev and test.

    Args:
        output: a folder, made if need be, that holds no such corpus yet.
        language: "en" or "ko".
        train, dev, test: how many utterances each split has; a split of none is not written.
        texts: what is said. Texts are dealt out to dev, test and train, in an order drawn by `seed`, and
            again from the first when there are too few. By default, strings of one to five digits.

    Returns:
        The manifests written, by split.

    Raises:
        UserError: a corpus is there already, an argument is out of range, or as `synthesize` does.
        OSError: the folder cannot be written to.
    """
    output = Path(output)
    counts = {"train": train, "dev": dev, "test": test}
    for name, number in (counts | {"seed": seed}).items():
        if not isinstance(number, int) or number < 0:
            raise UserError(f"{name}: expected an int of at least 0, got {number!r}")
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: expected a folder to write the corpus to, got a file")
    for name in SPLITS:
        if (output / f"{name}.tsv").exists():
            raise UserError(f"{output} holds {name}.tsv already; choose another folder, or remove the corpus")
    speakers = _divide(voices(language), seed)
    said = _digits(language, counts, seed) if texts is None else _deal(texts, counts, seed)
    made = {}
    for name in (name for name in SPLITS if counts[name]):
        (output / name).mkdir(parents=True, exist_ok=True)
        rngs = [np.random.default_rng((seed, SPLITS.index(name), n)) for n in range(counts[name])]
        made[name] = [
            _utterance(output, f"{name}/{n:05d}.flac", text, speakers[name], sample_rate, rng)
            for n, (text, rng) in enumerate(zip(said[name], rngs, strict=True))
        ]
    for name, utterances in made.items():
        write_manifest(output / f"{name}.tsv", utterances)
    return {name: output / f"{name}.tsv" for name in made}


def _divide(known: Sequence[Voice], seed: int) -> dict[str, list[Voice]]:
    """The voices of each split: an eighth of the men and of the women for dev, as many for test."""
    rng = np.random.default_rng((seed, len(SPLITS)))
    homes = {}
    for group in (MEN, WOMEN):
        held = math.ceil(len(group) / 8)
        for place, variant in enumerate(rng.permutation(group).tolist()):
            homes[variant] = "dev" if place < held else "test" if place < 2 * held else "train"
    return {name: [voice for voice in known if homes[voice.variant] == name] for name in SPLITS}


def _digits(language: str, counts: dict[str, int], seed: int) -> dict[str, list[str]]:
    """Random strings of one to five digits."""
    said = {}
    for name, count in counts.items():
        rng = np.random.default_rng((seed, len(SPLITS) + 1, SPLITS.index(name)))
        said[name] = [" ".join(rng.choice(DIGITS[language], rng.integers(1, 6))) for _ in range(count)]
    return said


def _deal(texts: Sequence[str], counts: dict[str, int], seed: int) -> dict[str, list[str]]:
    """Texts in a random order: the first ones to dev, the next to test, the others to train."""
    known = [] if isinstance(texts, str) else [" ".join(text.split()) for text in texts]
    if not known or not all(known):
        raise UserError("expected texts to synthesise: at least one, and none that is empty")
    order = np.random.default_rng((seed, len(SPLITS) + 1)).permutation(len(known))
    said = {}
    first = 0
    for name in ("dev", "test", "train"):
        said[name] = [known[order[n % len(known)]] for n in range(first, first + counts[name])]
        first += counts[name]
    return said


def _utterance(
    output: Path, name: str, text: str, speakers: Sequence[Voice], sample_rate: int, rng: np.random.Generator
) -> Utterance:
    """Let one of the speakers say a text in some way or other, and write it to a file."""
    speaker = speakers[int(rng.integers(len(speakers)))]
    pitch, range_, rate, gap = rng.integers((35, 25, 110, 0), (65, 75, 190, 8), endpoint=True).tolist()
    voice = dataclasses.replace(speaker, pitch=pitch, range=range_, rate=rate, gap=gap)
    samples = _record(synthesize(text, voice, sample_rate=sample_rate), sample_rate, rng)
    soundfile.write(output / name, samples, sample_rate, "PCM_16")
    seconds = len(samples) / sample_rate
    return Utterance(id=name, audio=output / name, text=text, seconds=seconds, speaker=voice.speaker)


def _record(speech: Floats, sample_rate: int, rng: np.random.Generator) -> Floats:
    """Speech with 0.1 to 0.4 s of silence around it, peak at -18 to -3 dB, 20 to 50 dB above white noise."""
    before, after = (rng.uniform(0.1, 0.4, 2) * sample_rate).astype(int)
    speech = speech * (10 ** (rng.uniform(-18, -3) / 20) / np.abs(speech).max())
    noise = np.sqrt(np.mean(np.square(speech))) * 10 ** (-rng.uniform(20, 50) / 20)
    samples = rng.standard_normal(before + len(speech) + after) * noise
    samples[before : before + len(speech)] += speech
    return samples.astype(np.float32)
