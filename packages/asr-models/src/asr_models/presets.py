"""Named configurations."""

from asr_models.configs import Convolution, DeepSpeech2Config, LasConfig

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

PRESETS: dict[str, DeepSpeech2Config | LasConfig] = {
    "deepspeech2": DEEPSPEECH2,
    "deepspeech2-small": DEEPSPEECH2_SMALL,
    "las-small": LAS_SMALL,
    "las-medium": LAS_MEDIUM,
    "las-large": LAS_LARGE,
}
