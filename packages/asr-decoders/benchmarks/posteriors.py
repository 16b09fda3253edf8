"""Text that was read, and log-probabilities as a trained CTC model would give them for it.

A model is sure of the blank in most frames, and in a few frames, each an irregular step after the one before, of a
token. Every token has rivals that sound alike and come close, some spikes are *hard*: a rival may win, or the blank.
Spikes leak into the frames beside them, and the rest is correlated noise. `statistics` says what comes of that:
like models of some 15 % word error rate, and unlike white noise, which makes every search slow.
"""

import gzip
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from interleave import PACKAGE, SHARED, present

from asr_decoders import Vocabulary

CORPUS = SHARED / "text" / "librispeech-train-clean-100.txt.gz"
HELD_OUT = 1000  # lines at the end, of other books than the rest
LETTERS = ("", " ", *"abcdefghijklmnopqrstuvwxyz'")
NUM_PIECES = 1000
RIVALS = 6
FRAMES = {"characters": (29, 0.02, 0.23), "pieces": (NUM_PIECES, 0.04, 0.20)}  # V, seconds, tokens in a frame
WHAT = {"characters": "29 characters, frames of 20 ms", "pieces": "1000 pieces, frames of 40 ms"}


@cache
def corpus() -> tuple[list[str], list[str]]:
    """Lines to learn from, and lines held out. Without the corpus, the README's words in a random order."""
    if CORPUS.exists():
        lines = gzip.decompress(CORPUS.read_bytes()).decode().lower().splitlines()
        return lines[:-HELD_OUT], lines[-HELD_OUT:]
    known = "".join(c if c in LETTERS else " " for c in (PACKAGE / "README.md").read_text().lower()).split()
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(known, 30)) for _ in range(20 * HELD_OUT)]
    return lines[:-HELD_OUT], lines[-HELD_OUT:]


def source() -> str:
    """What the text is, for the tables."""
    return "transcripts of LibriSpeech" if CORPUS.exists() else "random words (there is no ../shared/data)"


@dataclass(frozen=True)
class Utterance:
    text: str
    tokens: tuple[int, ...]
    log_probs: np.ndarray  # (T, V) float32


@dataclass(frozen=True)
class Model:
    """A recogniser that there is not: what it spells with, and what it takes for what."""

    kind: str  # "characters" or "pieces"
    seed: int = 0

    @cached_property
    def _subwords(self):
        import sentencepiece

        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus()[0]),
            model_writer=written,
            vocab_size=NUM_PIECES,
            model_type="bpe",
            character_coverage=1.0,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
        return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Blank is 0, where SentencePiece has the unknown piece, of which there is none in this text."""
        if self.kind == "characters":
            return Vocabulary(LETTERS, special=(0,))
        pieces = [self._subwords.id_to_piece(i) for i in range(1, NUM_PIECES)]
        return Vocabulary(("", *pieces), boundary="sentencepiece", special=(0,))

    def encode(self, text: str) -> list[int]:
        return [LETTERS.index(c) for c in text] if self.kind == "characters" else self._subwords.encode(text)

    @cached_property
    def rivals(self) -> np.ndarray:
        """(V, RIVALS) what each token is taken for: beginnings of words mostly for beginnings of words."""
        rng = np.random.default_rng(self.seed)
        size = len(self.vocabulary)
        groups = [range(1, size)] * size
        if self.kind == "pieces":
            begins = [piece.startswith("\u2581") for piece in self.vocabulary.pieces]
            groups = [[i for i in range(1, size) if begins[i] == begin] for begin in begins]
        return np.stack([rng.choice(group, RIVALS, replace=False) for group in groups])

    def log_probs(self, tokens: Sequence[int], num_frames: int, rng, *, hard: Collection[int] | None = None):
        """(T, V) for the tokens. hard: the places in them that are hard, otherwise a few at random."""
        size = len(self.vocabulary)
        level = 3.2 + 0.9 * np.log(size / 29)  # so that as much is left to all others in a large vocabulary
        logits = 1.3 * _correlated(rng, num_frames, size) + rng.normal(0, 1.2, size)
        blank = np.convolve(9.5 + level + 2.6 * rng.normal(size=num_frames), [0.25, 0.5, 0.25], "same")
        blank[[0, -1]] = 10 + level  # silence
        logits[:, 0] = blank
        places = _places(tokens, num_frames, rng)
        taken = set(places)
        for u, (token, place) in enumerate(zip(tokens, places, strict=True)):
            chance = 0.05 if self.kind == "characters" else 0.12
            is_hard = rng.random() < chance if hard is None else u in hard
            spike = 12.5 + level + 1.6 * rng.normal()
            rivals = self.rivals[token]
            close = spike - rng.gamma(2.0, 2.3, RIVALS) - (0.0 if is_hard else 2.0)
            if is_hard:
                close[rng.integers(RIVALS)] = spike + rng.normal(-0.3, 1.4)
            logits[place, token] = max(logits[place, token], spike)
            logits[place, rivals] = np.maximum(logits[place, rivals], close)
            logits[place, 0] = spike - 1.5 - (rng.normal(1.0, 2.0) if is_hard else rng.gamma(1.5, 2.2))
            for beside, likely in ((place - 1, 0.35), (place + 1, 0.5)):
                if 0 <= beside < num_frames and beside not in taken and rng.random() < likely:
                    top = logits[beside, 0]
                    logits[beside, token] = max(logits[beside, token], top - rng.gamma(2.0, 2.0))
                    logits[beside, rivals] = np.maximum(logits[beside, rivals], top - 4 - rng.gamma(2.0, 2.0, RIVALS))
        logits -= logits.max(axis=1, keepdims=True)
        return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)

    def utterances(self, count: int, num_frames: int, *, seed: int = 0) -> list[Utterance]:
        """Held-out text, as much as is said in so many frames."""
        rng = np.random.default_rng(seed)
        words = " ".join(corpus()[1]).split()
        at = int(rng.integers(len(words) // 2))
        most = num_frames * FRAMES[self.kind][2]
        made = []
        for _ in range(count):
            number = 1
            while len(self.encode(" ".join(words[at : at + number + 1]))) <= most:
                number += 1
            text = " ".join(words[at : at + number])
            at = (at + number) % (len(words) - num_frames)
            tokens = tuple(self.encode(text))
            made.append(Utterance(text, tokens, self.log_probs(tokens, num_frames, rng)))
        return made


def models() -> dict[str, Model]:
    """Both kinds, or the one that can be had: pieces need sentencepiece."""
    return {kind: Model(kind) for kind in FRAMES if kind == "characters" or present("sentencepiece")}


def statistics(utterances: Sequence[Utterance]) -> str:
    """How peaky the posteriors are, in words."""
    log_probs = np.concatenate([utterance.log_probs for utterance in utterances])
    probs = np.exp(log_probs)
    return (
        f"blank is the best token in {np.mean(log_probs.argmax(axis=1) == 0):.0%} of the frames and above 0.99 in "
        f"{np.mean(probs[:, 0] > 0.99):.0%}; entropy {-np.mean((probs * log_probs).sum(axis=1)):.2f} nats; "
        f"{np.mean((log_probs > -5).sum(axis=1)):.1f} tokens above -5"
    )


def _correlated(rng, num_frames: int, size: int) -> np.ndarray:
    """(T, V) noise of which each frame keeps 0.7 of the one before."""
    noise = 0.7 * rng.normal(size=(num_frames, size))
    for t in range(1, num_frames):
        noise[t] += 0.7 * noise[t - 1]
    return noise


def _places(tokens: Sequence[int], num_frames: int, rng) -> list[int]:
    """Increasing frames of the spikes, with a frame between equal ones."""
    steps = [1 + (u > 0 and tokens[u - 1] == token) for u, token in enumerate(tokens)]
    if sum(steps) > num_frames:
        raise ValueError(f"{len(tokens)} tokens need {sum(steps)} frames, got {num_frames}")
    gaps = rng.gamma(2.5, 1.0, len(tokens) + 1) + 0.35
    places = np.floor(np.cumsum(gaps)[:-1] / gaps.sum() * (num_frames - 2)).astype(int).tolist()
    for u in range(1, len(places)):
        places[u] = max(places[u], places[u - 1] + steps[u])
    last = num_frames
    for u in reversed(range(len(places))):
        places[u] = min(places[u], last - 1)
        last = places[u] - (steps[u] - 1)
    return places
