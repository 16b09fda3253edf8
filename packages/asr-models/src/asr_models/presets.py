"""Named configurations: the papers', the reference system's (cosmoquester/speech-recognition), and small ones."""

from asr_models.configs import Convolution, DeepSpeech2Config, LasConfig
from asr_models.reference import deepspeech2_of_reference, las_of_reference

DEEPSPEECH2 = DeepSpeech2Config()
DEEPSPEECH2_SMALL = DeepSpeech2Config(
    # A tenth of the multiplications of the paper's kernels: for CPUs and small corpora.
    convolutions=(
        Convolution(channels=16, kernel=(7, 11), stride=(2, 2)),
        Convolution(channels=16, kernel=(5, 7), stride=(1, 2)),
    ),
    recurrent_layers=3,
    recurrent_units=128,
)
DEEPSPEECH2_PAPER = DeepSpeech2Config(
    # Three convolutions and seven layers in both directions; the width is that of the paper's nine-layer network.
    convolutions=(
        Convolution(channels=32, kernel=(11, 41), stride=(2, 2)),
        Convolution(channels=32, kernel=(11, 21), stride=(1, 2)),
        Convolution(channels=96, kernel=(11, 21), stride=(1, 2)),
    ),
    cell="rnn",
    recurrent_layers=7,
    recurrent_units=1280,
    dropout=0.0,
)
DEEPSPEECH2_PAPER_STREAMING = DeepSpeech2Config(
    # The network that the paper deploys: three wide GRU layers in one direction under a row convolution.
    cell="gru",
    recurrent_layers=3,
    recurrent_units=2560,
    bidirectional=False,
    lookahead=80,
    dropout=0.0,
)
DEEPSPEECH2_STREAMING = DeepSpeech2Config(
    # As small as deepspeech2-small, and 0.43 s late at 10 ms a frame; layer norm says the same in every chunk.
    convolutions=DEEPSPEECH2_SMALL.convolutions,
    recurrent_layers=3,
    recurrent_units=192,
    bidirectional=False,
    norm="layer",
    lookahead=18,
)
DEEPSPEECH2_REFERENCE = deepspeech2_of_reference(
    # Kernels and strides as its file has them: 41 frames by 11 frequencies, an eighth of the frames.
    convolutions=[(32, (41, 11), (2, 2)), (32, (21, 11), (2, 1)), (96, (21, 11), (2, 1))]
)

LAS_SMALL = LasConfig(
    listener_layers=3,
    listener_units=128,
    speller_layers=1,
    speller_units=256,
    embedding_units=64,
    attention_units=128,
)
LAS_MEDIUM = LasConfig(listener_layers=4, listener_units=256, speller_layers=2, speller_units=512)
LAS_LARGE = LasConfig(
    listener_layers=4,
    listener_units=512,
    speller_layers=2,
    speller_units=1024,
    embedding_units=256,
    attention_units=256,
)
LAS_PAPER = LasConfig(
    # Chan et al. (2015), section 4: three pyramidal layers over a first one, 256 units a direction.
    listener_layers=4,
    listener_units=256,
    speller_layers=2,
    speller_units=512,
    embedding_units=512,
    attention="dot",
    attention_units=512,
    dropout=0.0,
    sampling=0.1,
)


def las_of_park(layers: int, units: int) -> LasConfig:
    """LAS-`layers`-`units` of Park et al. (2019, arXiv:1904.08779): convolutions that quarter time, no pyramid."""
    return LasConfig(
        convolutions=(Convolution(channels=32, kernel=(3, 3), stride=(2, 2), activation="relu"),) * 2,
        pyramid=False,
        listener_layers=layers,
        listener_units=units,
        speller_layers=2,
        speller_units=units,
        embedding_units=units // 2,
        attention="additive",
        attention_units=128,
        sampling=0.0,
    )


VGG = tuple(
    # Two blocks of two convolutions and a pooling: a quarter of the frames (Hori et al., 2017, arXiv:1706.02737).
    Convolution(channels=channels, kernel=(3, 3), stride=(1, 1), norm="none", activation="relu", pool=pool)
    for channels, pool in ((64, (1, 1)), (64, (2, 2)), (128, (1, 1)), (128, (2, 2)))
)
LAS_VGG = LasConfig(
    convolutions=VGG,
    pyramid=False,
    listener_layers=4,
    listener_units=320,
    speller_layers=1,
    speller_units=300,
    embedding_units=300,
    attention_units=320,
    location_channels=10,
    location_width=101,
    ctc_head=True,
)

PRESETS: dict[str, DeepSpeech2Config | LasConfig] = {
    "deepspeech2": DEEPSPEECH2,
    "deepspeech2-small": DEEPSPEECH2_SMALL,
    "deepspeech2-streaming": DEEPSPEECH2_STREAMING,
    "deepspeech2-paper": DEEPSPEECH2_PAPER,
    "deepspeech2-paper-streaming": DEEPSPEECH2_PAPER_STREAMING,
    "deepspeech2-reference": DEEPSPEECH2_REFERENCE,
    "las-small": LAS_SMALL,
    "las-medium": LAS_MEDIUM,
    "las-large": LAS_LARGE,
    "las-paper": LAS_PAPER,
    "las-4-1024": las_of_park(4, 1024),
    "las-6-1280": las_of_park(6, 1280),
    "las-vgg": LAS_VGG,
    "las-reference-small": las_of_reference(listener_units=256, listener_layers=3, speller_units=256),
    "las-reference-medium": las_of_reference(listener_units=512, listener_layers=4, speller_units=512),
    "las-reference-large": las_of_reference(listener_units=1024, listener_layers=4, speller_units=1024),
}
