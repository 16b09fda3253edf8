"""Front ends against the libraries whose features they are: CPU time, one thread, in turns."""

from dataclasses import replace

import interleave  # first: it sets the limits on threads
import numpy as np
from libraries import PEERS, tensorflow

from asr_features import presets

MODULES = ("kaldi_native_fbank", "librosa", "torch", "torchaudio", "tensorflow", "python_speech_features", "lhotse")
LIBROSA_DOUBLE = replace(presets.LIBROSA_80, dtype="float64")

# Ours, theirs: its name, what it needs, how it is made, and at least how many times our CPU time it is to take.
ROWS = [
    ("KALDI_80", presets.KALDI_80, "kaldi-native-fbank", *PEERS["kaldi-80"], 6),
    ("KALDI_80", presets.KALDI_80, "torchaudio.compliance.kaldi", *PEERS["kaldi-80 torchaudio"], 2),
    ("ICEFALL_80", presets.ICEFALL_80, "lhotse Fbank", *PEERS["icefall-80 lhotse"], None),
    ("KALDI_MFCC_13", presets.KALDI_MFCC_13, "kaldi-native-fbank", *PEERS["kaldi-mfcc-13"], None),
    ("LIBROSA_80", presets.LIBROSA_80, "librosa, float32", *PEERS["librosa-80"], 2.2),
    ("LIBROSA_80, float64", LIBROSA_DOUBLE, "librosa, float64", *PEERS["librosa-80 float64"], 1.2),
    ("WHISPER_80", presets.WHISPER_80, "Whisper's torch code", *PEERS["whisper-80"], 1.5),
    ("TORCHAUDIO_80", presets.TORCHAUDIO_80, "torchaudio MelSpectrogram", *PEERS["torchaudio-80"], None),
    ("NEMO_80", presets.NEMO_80, "NeMo's recipe in torch", *PEERS["nemo-80"], None),
    ("ESPNET_80", presets.ESPNET_80, "ESPnet's recipe in torch", *PEERS["espnet-80"], None),
    ("TENSORFLOW_80", presets.TENSORFLOW_80, "tf.signal, eager", *PEERS["tensorflow-80"], None),
    (
        "TENSORFLOW_80",
        presets.TENSORFLOW_80,
        "tf.signal, tf.function",
        "tensorflow",
        lambda: tensorflow("log-mel", compiled=True),
        None,
    ),
    ("PSF_26", presets.PSF_26, "python_speech_features logfbank", *PEERS["psf-26"], None),
    ("PSF_MFCC_13", presets.PSF_MFCC_13, "python_speech_features mfcc", *PEERS["psf-mfcc-13"], None),
]


def over(function, signals):
    """A call of the function on every signal."""

    def call():
        for signal in signals:
            function(signal)

    return call


def main() -> None:
    options = interleave.arguments(__doc__, rounds=7)
    signals, what = interleave.utterances(100)
    rows = [row for row in ROWS if interleave.present(row[3])]
    calls = {}
    for name, ours, peer, _, make, _ in rows:
        calls[name] = over(ours, signals)
        theirs = make()
        if "float64" in peer:
            theirs = over(theirs, [signal.astype(np.float64) for signal in signals])
        else:
            theirs = over(theirs, signals)
        calls[f"{name} {peer}"] = theirs
    seconds = interleave.interleave(calls, options.rounds)
    lines = []
    for name, _, peer, _, _, goal in rows:
        ours, theirs = seconds[name], seconds[f"{name} {peer}"]
        aim = f"{goal:g}" if goal else ""
        lines.append([name, peer, f"{1000 * ours:.0f}", f"{1000 * theirs:.0f}", f"**{theirs / ours:.2f}**", aim])
    header = ["preset", "library", "ours, ms", "library, ms", "times our CPU", "goal"]
    text = f"{what}, on one thread; the medians of {options.rounds} rounds in turns."
    interleave.report(__file__, "Front ends", [text, interleave.table(header, lines)], MODULES, options.output)


if __name__ == "__main__":
    main()
