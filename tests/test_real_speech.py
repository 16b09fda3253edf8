"""The parts together, on real speech: both families learn 32 utterances of AN4 to the letter."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import asr_features
import asr_models
from asr_decoders import AttentionGreedy, CtcGreedy, Errors, errors

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

BEGIN, END, FIRST = 2, 3, 4
FRONTEND = asr_features.PRESETS["kaldi-40"]


class Speech(NamedTuple):
    """A padded batch, and what was said."""

    features: Any
    lengths: Any
    labels: Any
    label_lengths: Any
    texts: list[str]
    letters: list[str]

    def text(self, tokens: tuple[int, ...]) -> str:
        return "".join(self.letters[token - FIRST] for token in tokens if token >= FIRST)

    def errors(self, found: list[Any]) -> Errors:
        """Of characters, in the best hypothesis of each utterance."""
        heard = [self.text(hypotheses[0].tokens) for hypotheses in found]
        return sum((errors(*pair, unit="character") for pair in zip(self.texts, heard, strict=True)), Errors())


def padded(rows: list[Any]) -> Any:
    out = np.zeros((len(rows), max(map(len, rows)), *np.shape(rows[0])[1:]), np.asarray(rows[0]).dtype)
    for row, values in zip(out, rows, strict=True):
        row[: len(values)] = values
    return out


@pytest.fixture(scope="module")
def speech(root: Path) -> Speech:
    """Utterances of one to three seconds and six letters or more, of many speakers."""
    data = root.parent / "shared" / "data"
    if not (data / "an4-train.tsv").is_file():
        pytest.skip("needs ../shared/data")
    lines = [line.split("\t") for line in (data / "an4-train.tsv").read_text().splitlines()[1:]]
    spoken = [(asr_features.read(data / path, sample_rate=16000), text) for path, text in lines if len(text) >= 6]
    spoken = [(samples, text) for samples, text in spoken if 1.2 <= len(samples) / 16000 <= 2.6]
    spoken = spoken[:: len(spoken) // 32][:32]
    normalize, texts = asr_features.UtteranceNorm(), [text for _, text in spoken]
    letters = sorted(set("".join(texts)))
    features = [normalize(FRONTEND(samples)) for samples, _ in spoken]
    labels = [np.array([letters.index(letter) + FIRST for letter in text], np.int32) for text in texts]
    lengths = (np.array([len(row) for row in rows], np.int32) for rows in (features, labels))
    feature_lengths, label_lengths = lengths
    return Speech(padded(features), feature_lengths, padded(labels), label_lengths, texts, letters)


def learn(model: Any, loss: Any, done: Any, *, rate: float = 2e-3, steps: int = 400) -> None:
    """Adam on all the utterances at once, until `done`."""
    optimizer = keras.optimizers.Adam(rate)
    optimizer.build(model.trainable_variables)

    def step(seed: Any) -> None:
        with tf.GradientTape() as tape:
            value = loss(seed)
        gradients = tape.gradient(value, [variable.value for variable in model.trainable_variables])
        gradients, _ = tf.clip_by_global_norm(gradients, 5.0)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    compiled = tf.function(step, autograph=False, input_signature=[tf.TensorSpec([2], tf.int32)])
    for count in range(1, steps + 1):
        compiled(tf.constant([1, count]))
        if count % 20 == 0 and done():
            return


def test_deepspeech2_learns_32_utterances_to_the_letter(speech: Speech) -> None:
    config = replace(asr_models.PRESETS["deepspeech2-small"], recurrent_layers=2, dropout=0.0)
    model = asr_models.DeepSpeech2(config, features=FRONTEND.dim, vocab_size=FIRST + len(speech.letters), seed=1)
    search = CtcGreedy(blank=0)

    def loss(seed: Any) -> Any:
        logits = model(speech.features, speech.lengths, training=True, seed=seed)
        total = asr_models.ctc_loss(*logits, speech.labels, speech.label_lengths, blank=0)
        return tf.reduce_sum(total) / speech.label_lengths.sum()

    def heard() -> Errors:
        scores = asr_models.log_probabilities(model, speech.features, speech.lengths)
        return speech.errors([search(row) for row in scores])

    learn(model, loss, lambda: heard().total == 0)
    assert heard().total == 0


def test_las_learns_32_utterances_to_the_letter_and_reads_them_in_order(speech: Speech) -> None:
    config = replace(
        asr_models.PRESETS["las-small"],
        convolutions=(asr_models.Convolution(channels=16, kernel=(5, 5), stride=(2, 2)),),
        listener_layers=2,
        speller_units=128,
        embedding_units=16,
        attention_units=64,
        dropout=0.0,
        embedding_dropout=0.5,  # the texts are few: a speller that is told them learns them by heart
        sampling=0.0,
        ctc_head=True,
    )
    model = asr_models.Las(config, features=FRONTEND.dim, vocab_size=FIRST + len(speech.letters), seed=1)
    step, search = asr_models.SpellerStep(model), AttentionGreedy(begin=BEGIN, end=END)
    rows, longest = speech.labels.shape
    inputs = np.pad(speech.labels, [(0, 0), (1, 0)], constant_values=BEGIN)
    targets = np.pad(speech.labels, [(0, 0), (0, 1)])
    targets[np.arange(rows), speech.label_lengths] = END

    def loss(seed: Any) -> Any:
        memory = model.listen(speech.features, speech.lengths, training=True, seed=seed)
        logits = model.speller(memory, inputs, training=True, seed=seed)
        spelled = asr_models.cross_entropy(logits, targets, speech.label_lengths + 1)
        ctc = asr_models.ctc_loss(*model.frame_logits(memory), speech.labels, speech.label_lengths, blank=0)
        return tf.reduce_sum(0.7 * spelled + 0.3 * ctc) / speech.label_lengths.sum()

    def heard() -> Errors:
        state, _ = step.start(speech.features, speech.lengths)
        return speech.errors(search(step, state, batch=rows, max_lengths=np.full(rows, longest + 10)))

    learn(model, loss, lambda: heard().total == 0)
    assert heard().total == 0
    alignments = model.alignments(model.listen(speech.features, speech.lengths), inputs).numpy()
    peaks = [one[: length + 1].argmax(-1) for one, length in zip(alignments, speech.label_lengths, strict=True)]
    forward = np.concatenate([np.diff(row) >= 0 for row in peaks])
    assert forward.mean() >= 0.9
    # They do not merely stand still.
    assert np.mean([np.ptp(row) / one.any(0).sum() for row, one in zip(peaks, alignments, strict=True)]) > 0.4
