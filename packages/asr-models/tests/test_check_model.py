"""The battery over every preset (narrowed) and every variant, and what it finds in models that are wrong."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from asr_models import PRESETS, Convolution, DeepSpeech2, DeepSpeech2Config, Encoded, Las, LasConfig
from asr_models import attention as attention_module
from asr_models import batch_norm as batch_norm_module
from asr_models.bridge import weights_of
from asr_models.configs import ATTENTIONS, CELLS
from asr_models.initial import weight
from asr_models.testing import check_acoustic_model, check_las, check_learning, check_model, check_training

FEATURES, VOCAB = 8, 7
FRONT = (
    Convolution(channels=3, kernel=(4, 3), stride=(3, 1)),
    Convolution(channels=3, kernel=(1, 2), stride=(2, 3)),
)


def narrow(config: DeepSpeech2Config | LasConfig) -> DeepSpeech2Config | LasConfig:
    """The same parts, less wide; of equal layers one.

    Two in a pyramid, whose first halves nothing, and in one direction, where they are quick: with a norm in between.
    """
    convolutions = tuple(
        dataclasses.replace(c, channels=4, kernel=(min(c.kernel[0], 5), min(c.kernel[1], 5)))
        for c in config.convolutions
    )
    if isinstance(config, LasConfig):
        return dataclasses.replace(
            config,
            convolutions=convolutions,
            listener_layers=2 if config.pyramid else 1,
            listener_units=12,
            speller_layers=1,
            speller_units=16,
            embedding_units=6,
            attention_units=12,
            location_width=5,
        )
    return dataclasses.replace(
        config,
        convolutions=convolutions,
        recurrent_layers=1 if config.bidirectional else 2,
        recurrent_units=12,
        lookahead=min(config.lookahead, 3),
    )


def small_las(**changes: Any) -> LasConfig:
    return dataclasses.replace(narrow(PRESETS["las-small"]), **changes)


def small_deepspeech2(**changes: Any) -> DeepSpeech2Config:
    return DeepSpeech2Config(**({"convolutions": FRONT, "recurrent_layers": 1, "recurrent_units": 8} | changes))


# Presets that differ in their sizes only are one when they are narrow.
NARROW = {config: name for name, config in reversed([(name, narrow(c)) for name, c in PRESETS.items()])}
PRESET_CONFIGS = {name: config for config, name in NARROW.items()}
VARIANTS: dict[str, DeepSpeech2Config | LasConfig] = {
    "deepspeech2-two-gru-without-norm": small_deepspeech2(
        recurrent_layers=2,
        cell="gru",
        norm="none",
        merge="concat",
        recurrent_dropout=0.2,
        convolutions=(dataclasses.replace(FRONT[0], norm="layer", pool=(2, 2), dropout=0.1),),
    ),
    "las-additive-gru-tied": small_las(
        attention="additive",
        cell="gru",
        tied_output=True,
        pyramid=False,
        listener_layers=1,
        convolutions=FRONT,
        ctc_head=True,
    ),
    "las-multi-head-rnn-four-layers": small_las(
        attention="multi-head",
        cell="rnn",
        speller_layers=4,
        input_feeding=False,
        start_from_memory=True,
        pyramid=False,
        recurrent_dropout=0.2,
        sampling_per="utterance",
    ),
}
CONFIGS = PRESET_CONFIGS | VARIANTS


def built(config: DeepSpeech2Config | LasConfig, *, seed: int = 0) -> Any:
    family = Las if isinstance(config, LasConfig) else DeepSpeech2
    return family(config, features=FEATURES, vocab_size=VOCAB, seed=seed)


def plain() -> DeepSpeech2:
    return built(small_deepspeech2(cell="rnn", bidirectional=False, convolutions=FRONT[:1]))


def warmed(model):
    """With moving statistics that are not those of the first day."""
    for variable in model.non_trainable_variables:
        rng, mean = np.random.default_rng(1), variable.path.endswith("mean")
        variable.assign(rng.normal(0, 0.1, variable.shape) if mean else rng.uniform(0.3, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_battery(config: DeepSpeech2Config | LasConfig) -> None:
    check_model(warmed(built(config)))


def test_the_battery_finds_a_convolution_padded_by_tensorflow() -> None:
    kernel = tf.random.stateless_normal([3, FEATURES, VOCAB], [1, 2])

    def same(features: tf.Tensor, lengths: tf.Tensor, **_: object) -> Encoded:
        mask = tf.sequence_mask(lengths, tf.shape(features)[1], tf.float32)[..., None]
        return Encoded(tf.nn.conv1d(features * mask, kernel, 2, "SAME"), (lengths + 1) // 2)

    with pytest.raises(AssertionError, match="padding|alone"):
        check_acoustic_model(same, features=FEATURES)


def test_every_cell_attention_listener_and_loss_is_among_the_models() -> None:
    las = [config for config in CONFIGS.values() if isinstance(config, LasConfig)]
    deepspeech2 = [config for config in CONFIGS.values() if isinstance(config, DeepSpeech2Config)]
    assert {config.attention for config in las} == set(ATTENTIONS)
    assert {config.cell for config in las} == {config.cell for config in deepspeech2} == set(CELLS)
    assert {(config.pyramid, config.projection, bool(config.convolutions)) for config in las} >= {
        (True, False, False),  # of the paper
        (False, True, True),  # of the reference system
        (False, False, True),  # VGG
    }
    assert {config.ctc_head for config in las} == {True, False}
    assert {config.norm for config in deepspeech2} == {"batch", "layer", "none"}
    assert {narrow(config) for config in PRESETS.values()} == set(PRESET_CONFIGS.values())


class Twisted:
    """A DeepSpeech2 with something done to what it says."""

    def __init__(self, twist: Any) -> None:
        self.model, self.twist = plain(), twist
        self.features, self.vocab_size = self.model.features, self.model.vocab_size

    @property
    def variables(self) -> list[Any]:
        return self.model.variables

    @property
    def trainable_variables(self) -> list[Any]:
        return self.model.trainable_variables

    def __call__(self, features: tf.Tensor, lengths: tf.Tensor, **options: Any) -> Encoded:
        values, lengths = self.model(features, lengths, **options)
        return Encoded(self.twist(values), lengths)


def test_the_battery_takes_any_model_of_the_interface_and_leaves_its_weights() -> None:
    model = Twisted(lambda values: values * 2)
    before = weights_of(model)
    check_model(model)
    after = weights_of(model)
    assert all(np.array_equal(array, after[name]) for name, array in before.items())


@pytest.mark.parametrize(
    ("twist", "complaint"),
    [
        (lambda values: values * 0, "deaf"),
        (lambda values: values - tf.reduce_mean(values, 0, keepdims=True), "padding|order|alone"),
        (lambda values: values + tf.cast(tf.shape(values)[1], tf.float32), "longer padding|alone"),
        (lambda values: values if tf.executing_eagerly() else values + 1, "graph and eager differ"),
        (lambda values: tf.stop_gradient(values), "gets no gradient"),
    ],
    ids=["deaf", "listens to its neighbours", "counts the padding", "another graph", "stops the gradient"],
)
def test_the_battery_finds_what_is_wrong(twist: Any, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_model(Twisted(twist))


def test_the_battery_finds_a_model_that_does_not_learn() -> None:
    with pytest.raises(AssertionError, match=r"4 utterances are not learned in 30 steps: the loss went from"):
        check_learning(Twisted(lambda values: values * 1e-4), steps=30)


def test_the_battery_finds_attention_to_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "_softmax", lambda scores, real: tf.nn.softmax(scores))
    with pytest.raises(AssertionError, match="padding"):
        check_las(built(small_las(attention="dot")))


def test_the_battery_finds_statistics_of_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = dataclasses.replace(plain().config, dropout=0.0)
    check_training(built(quiet))
    normalize = batch_norm_module._normalize
    monkeypatch.setattr(
        batch_norm_module, "_normalize", lambda values, real, *rest: normalize(values, tf.ones_like(real), *rest)
    )
    with pytest.raises(AssertionError, match="longer padding changes the loss"):
        check_training(built(quiet))


def test_the_battery_finds_two_weights_of_one_name() -> None:
    model = plain()
    model.one, model.two = (weight(model, "same", np.ones(2, np.float32)) for _ in range(2))
    with pytest.raises(AssertionError, match="two weights have one name"):
        check_model(model)


def test_channels_are_checked_too() -> None:
    check_acoustic_model(
        DeepSpeech2(plain().config, features=FEATURES, vocab_size=VOCAB, channels=2), features=FEATURES, channels=2
    )
