"""CTC beam search with a word trigram, of equal weights, against the libraries that use KenLM: CPU time and errors."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import interleave  # first: it sets the limits on threads
import numpy as np
from peers import PRUNING, Decode, ours, spaced
from posteriors import FRAMES, WHAT, Model, corpus, models, source

from asr_decoders import CtcGreedy, Errors, errors
from asr_decoders.ngram import NGram, estimate

UTTERANCES = 20
LENGTH = 500
BEAMS = (10, 100)
MODULES = ("pyctcdecode", "kenlm", "flashlight", "sentencepiece")
LM_WEIGHT, WORD_BONUS, UNKNOWN = 0.5, 3.0, -10.0  # about the best here, of all
FUSION = {"lm_weight": LM_WEIGHT, "word_bonus": WORD_BONUS, "unknown_log_prob": UNKNOWN}
GOALS = [("native", "pyctcdecode + kenlm", 20), ("numpy", "pyctcdecode + kenlm", 1.8)]  # with beam 100
OPENING = 10  # ms that a binary file may take to open


class Trigram(NamedTuple):
    """A model and the files that it was written to; binary is None where KenLM's build_binary is not installed."""

    ngram: NGram  # read from a file
    arpa: Path
    binary: Path | None

    @property
    def file(self) -> str:
        """What is read quickest."""
        return str(self.binary or self.arpa)


def trigram(folder: Path) -> Trigram:
    """Of the lines that are not held out."""
    arpa, binary = folder / "trigram.arpa", folder / "trigram.bin"
    estimate(corpus()[0], order=3).write(arpa)
    if not shutil.which("build_binary"):
        return Trigram(NGram.read(arpa), arpa, None)
    subprocess.run(["build_binary", arpa, binary], check=True, capture_output=True)
    return Trigram(NGram.read(binary), arpa, binary)


def pyctcdecode(model: Model, trigram: Trigram, beam_size: int) -> Decode:
    from pyctcdecode import build_ctcdecoder

    words = [word for word in trigram.ngram.vocabulary if not word.startswith("<")]
    options = {"alpha": LM_WEIGHT, "beta": WORD_BONUS, "unk_score_offset": UNKNOWN}
    decoder = build_ctcdecoder(list(model.vocabulary.pieces), trigram.file, words, **options)
    return lambda log_probs: decoder.decode(log_probs, beam_width=beam_size)


def flashlight(model: Model, trigram: Trigram, beam_size: int) -> Decode:
    """With a lexicon of the model's words, for `flashlight_frames`. Of characters each word ends with a space."""
    from flashlight.lib.text.decoder import CriterionType, LexiconDecoder, LexiconDecoderOptions, SmearingMode, Trie
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    words = [word for word in trigram.ngram.vocabulary if not word.startswith("<")]
    lexicon = Dictionary()
    for word in [*words, "<unk>"]:
        lexicon.add_entry(word)
    kenlm = KenLM(trigram.file, lexicon)
    silence = len(model.vocabulary)
    space = [1] if model.kind == "characters" else []
    trie, start = Trie(silence + 1, silence), kenlm.start(False)
    for word in words:
        index = lexicon.get_index(word)
        trie.insert([*model.encode(word), *space], index, kenlm.score(start, index)[1])
    trie.smear(SmearingMode.MAX)
    options = LexiconDecoderOptions(
        beam_size=beam_size,
        beam_size_token=min(silence, 40),
        beam_threshold=25.0,
        lm_weight=LM_WEIGHT * np.log(10),  # it takes KenLM's decimal logarithms as they are
        word_score=WORD_BONUS,
        unk_score=-np.inf,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    decoder = LexiconDecoder(options, trie, kenlm, silence, 0, lexicon.get_index("<unk>"), [], False)

    def decode(frames: np.ndarray) -> str:
        best = decoder.decode(frames.ctypes.data, *frames.shape)[0]
        return " ".join(lexicon.get_entry(word) for word in best.words if word >= 0)

    return decode


def flashlight_frames(log_probs: np.ndarray, kind: str) -> np.ndarray:
    """With a token that is never heard, to be its silence, and a space that ends the last word."""
    last = int(kind == "characters")
    frames = np.pad(log_probs, ((0, last), (0, 1)), constant_values=-1e3)
    frames[len(log_probs) :, 1] = 0.0
    return frames


def decoders(model: Model, trigram: Trigram, beam_size: int) -> dict[str, Decode]:
    """Those that are installed. The first four have the same model, with the same weights."""
    fused = {"lm": trigram.ngram, "align": False, **FUSION}
    made: dict[str, Any] = {
        "native": ours(backend="native", **fused, **PRUNING),
        "native, not pruned": ours(backend="native", **fused),
        "numpy": ours(backend="numpy", **fused, **PRUNING),
        "native without a model": ours(backend="native", align=False),
    }
    found = {name: make(model.vocabulary, beam_size) for name, make in made.items()}
    if interleave.present("pyctcdecode kenlm"):
        found["pyctcdecode + kenlm"] = pyctcdecode(model, trigram, beam_size)
    if interleave.present("flashlight"):
        found["flashlight-text + lexicon"] = flashlight(model, trigram, beam_size)
    return found


def over(decode: Decode, inputs: list[np.ndarray], texts: list[str]):
    def call():
        texts[:] = [spaced(decode(each)) for each in inputs]

    return call


def rate(texts: list[str], utterances) -> float:
    return sum((errors(u.text, text) for u, text in zip(utterances, texts, strict=True)), Errors()).rate


def measure(model: Model, trigram: Trigram, rounds: int):
    """The rows of a table, and what each beam's decoders take in milliseconds and get wrong."""
    utterances = model.utterances(UTTERANCES, LENGTH)
    posteriors = [utterance.log_probs for utterance in utterances]
    inputs = {"flashlight-text + lexicon": [flashlight_frames(each, model.kind) for each in posteriors]}
    found = {}
    for beam_size in BEAMS:
        made = decoders(model, trigram, beam_size)
        texts: dict[str, list[str]] = {name: [] for name in made}
        calls = {name: over(decode, inputs.get(name, posteriors), texts[name]) for name, decode in made.items()}
        seconds = interleave.interleave(calls, rounds)
        found[beam_size] = {
            name: (1000 * seconds[name] / UTTERANCES, rate(texts[name], utterances), texts[name]) for name in made
        }
    rows = []
    for name in found[BEAMS[0]]:
        row = [name]
        for cell in found.values():
            (took, wer, said), (base, _, same) = cell[name], cell["native"]
            times = "" if name == "native" else f" ({took / base:.3g}x)"
            row += [f"{took:.3g}{times}", f"{wer:.1%}", f"{sum(map(str.__eq__, said, same))}/{len(same)}"]
        rows.append(row)
    greedy = CtcGreedy(vocabulary=model.vocabulary)
    wer = rate([greedy(utterance.log_probs)[0].text for utterance in utterances], utterances)
    return (
        rows,
        found,
        f"Of {UTTERANCES} utterances of {LENGTH} frames the best path gets {wer:.1%} of the words wrong.",
    )


def reading(trigram: Trigram, rounds: int) -> tuple[str, float]:
    """A table of how long it takes to read the files; and milliseconds for ours to open the binary one."""
    files = {"ARPA": trigram.arpa, "KenLM binary": trigram.binary}
    calls = {}
    for kind, path in files.items():
        if path:
            calls[f"{kind}, NGram.read"] = lambda path=path: NGram.read(path)
            if interleave.present("kenlm"):
                calls[f"{kind}, kenlm.Model"] = lambda path=path: kenlm_model(path)
    seconds = interleave.interleave(calls, rounds)
    rows = [[name, f"{1000 * each:.3g}"] for name, each in seconds.items()]
    return interleave.table(["file", "ms"], rows), 1000 * seconds.get("KenLM binary, NGram.read", 0.0)


def kenlm_model(path: Path):
    import kenlm

    return kenlm.Model(str(path))


def main() -> None:
    options = interleave.arguments(__doc__, rounds=5)
    goals = []
    with tempfile.TemporaryDirectory() as folder:
        model_of_words = trigram(Path(folder))
        ngram = model_of_words.ngram
        perplexity = ngram.perplexity(corpus()[1])
        parts = [
            f"A trigram of {len(ngram)} words, estimated by `estimate` from {len(corpus()[0])} lines of {source()}; "
            f"the posteriors are made from others, on which its perplexity is {perplexity:.0f}. Weight {LM_WEIGHT}, "
            f"{WORD_BONUS} nats a word, {UNKNOWN} an unknown one; pruned as pyctcdecode prunes (tokens below -5, "
            "prefixes 10 under the best), flashlight-text to 40 tokens and 25 nats. Flashlight's lexicon knows the "
            "model's words only. Milliseconds of CPU time an utterance, on one thread, the medians of "
            f"{options.rounds} rounds in turns; word error rate; texts that are those of ours (native)."
        ]
        header = ["decoder", *(f"{what}, beam {beam}" for beam in BEAMS for what in ("ms", "WER", "same text"))]
        for kind, model in models().items():
            rows, found, greedy = measure(model, model_of_words, options.rounds)
            parts += [f"## {WHAT[kind]}", greedy, interleave.table(header, rows)]
            last = found[BEAMS[-1]]
            for mine, peer, least in GOALS:
                if peer in last:
                    goals.append((f"{kind}: {peer} to {mine}, beam {BEAMS[-1]}", last[peer][0] / last[mine][0], least))
                    more = 100 * (last[mine][1] - last[peer][1])
                    goals.append((f"{kind}: WER of {mine} less that of {peer}, points", -more, -0.2))
        table, opening = reading(model_of_words, options.rounds)
        parts += ["## Reading the model", table]
        if model_of_words.binary:
            goals.append(("ms to open the binary file", -opening, -OPENING))
        else:
            parts.append("KenLM's build_binary is not installed, so there is no binary file.")
    if len(FRAMES) > len(models()):
        parts.append("sentencepiece is not installed, so pieces are not measured.")
    parts += ["## Goals", interleave.goals(goals)]
    interleave.report(__file__, "CTC beam search with a language model", parts, MODULES, options.output)


if __name__ == "__main__":
    main()
