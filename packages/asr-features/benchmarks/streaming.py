"""Streaming: the CPU time of a push of samples, one thread, against kaldi-native-fbank's online extractor."""

from array import array

import interleave  # first: it sets the limits on threads
import numpy as np
from libraries import knf_options

from asr_features import presets

RATE = interleave.RATE
# Milliseconds of a push, and at most how many times kaldi-native-fbank's CPU time ours is to take.
PUSHES = {10: None, 100: 0.5, 320: None}


def ours(frontend, chunks):
    """Pushes an utterance through a front end, and takes the frames as they come."""

    def call():
        state = frontend.start()
        frames = 0
        for chunk in chunks:
            state, features = frontend.step(state, chunk)
            frames += len(features)
        return frames + len(frontend.finish(state))

    return call


def knf(chunks, convert):
    """The same with kaldi-native-fbank: each new frame is taken, and dropped from its memory."""
    import kaldi_native_fbank

    options = knf_options("FbankOptions", num_mels=80)

    def call():
        extractor = kaldi_native_fbank.OnlineFbank(options)
        done = 0
        for chunk in chunks:
            extractor.accept_waveform(RATE, convert(chunk * np.float32(32768)))
            ready = extractor.num_frames_ready
            if ready > done:
                np.stack([extractor.get_frame(index) for index in range(done, ready)])
                extractor.pop(ready - done)
                done = ready
        extractor.input_finished()
        return done

    return call


# What it is handed: a list, as in its examples and most programs, or what it takes quickest.
KNF = {"a list": np.ndarray.tolist, "an array.array": lambda samples: array("f", samples.tobytes())}


def main() -> None:
    options = interleave.arguments(__doc__, rounds=25)
    (signal, *_), what = interleave.utterances(1)
    peers = KNF if interleave.present("kaldi_native_fbank") else {}
    calls, pushes = {}, {}
    for milliseconds in PUSHES:
        size = RATE * milliseconds // 1000
        chunks = [signal[first : first + size] for first in range(0, len(signal), size)]
        pushes[milliseconds] = len(chunks)
        calls[milliseconds, "ours"] = ours(presets.KALDI_80, chunks)
        for name, convert in peers.items():
            calls[milliseconds, name] = knf(chunks, convert)
    seconds = interleave.interleave(calls, options.rounds)
    lines = []
    for milliseconds, goal in PUSHES.items():
        mine, *others = (1e6 * seconds[milliseconds, name] / pushes[milliseconds] for name in ("ours", *peers))
        cells = (f"{other:.0f} (**{mine / other:.2f}**)" for other in others)
        lines.append([f"{milliseconds} ms", f"{mine:.0f}", *cells, f"{goal:g}" if goal else ""])
    header = ["push", "KALDI_80", *(f"kaldi-native-fbank, {name}" for name in peers), "at most"]
    text = (
        f"{what} pushed in pieces, on one thread: CPU µs of a push, all frames taken, and in brackets ours as a part "
        "of kaldi-native-fbank's, which is handed a list, as in its examples, or an array.array, which it takes "
        f"quickest; the medians of {options.rounds} rounds in turns."
    )
    interleave.report(
        __file__, "Streaming", [text, interleave.table(header, lines)], ["kaldi_native_fbank"], options.output
    )


if __name__ == "__main__":
    main()
