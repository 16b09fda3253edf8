"""How fast utterances become batches: FLAC to augmented features on one core, and where the time goes.

    python benchmarks/pipeline.py

Everything runs on one thread, in turns, and CPU time is told: of the medians, hours of audio an hour of one core. It is
compared with what a training step consumes (the gradient of deepspeech2-small on one thread), and with what users of
tf.data write: soundfile in a numpy_function (TensorFlow decodes no FLAC), tf.signal.stft, a mel product, SpecAugment's
masks, bucket_by_sequence_length; no speed perturbation, for TensorFlow has none. The padding is that of an epoch's
plan of each recipe, for durations like those of its corpus.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "asr-models" / "benchmarks"))

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

import interleave  # first: it sets the limits on threads
import numpy as np
import soundfile
import tensorflow as tf
from corpora import corpus_of, made_up, pipeline_of, utterances

import asr_features
import asr_models
from asr_train.batches import Pipeline
from asr_train.cache import DiskStore, MemoryStore
from asr_train.config import AugmentConfig, DataConfig, NoiseConfig
from asr_train.manifest import Utterance, measure, read_audio, read_manifest
from asr_train.noise import Noise
from asr_train.reader import Reader
from asr_train.tokenizer import Tokenizer

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
FRONTEND = asr_features.PRESETS["kaldi-80"]
POLICY = asr_features.POLICIES["LD"]
SPEEDS = (0.9, 1.0, 1.1)
STEP = 128  # seconds of audio
PADDED = ("an4-las", "an4-deepspeech2", "librispeech-las-small", "librispeech-deepspeech2")


def corpus(folder: Path, count: int) -> list[Utterance]:
    """Utterances of LibriSpeech, or noise with their lengths where that is not there."""
    if (SHARED / "librispeech.tsv").is_file():
        return measure(read_manifest(SHARED / "librispeech.tsv")[:count])
    rng, utterances = np.random.default_rng(0), []
    for n in range(count):
        samples = rng.standard_normal(int(16000 * rng.uniform(2, 17))) * 0.05
        soundfile.write(folder / f"{n}.flac", samples, 16000)
        utterances.append(Utterance(id=str(n), audio=folder / f"{n}.flac", text="a text of some words"))
    return measure(utterances)


def consume(pipeline: Pipeline, epoch: int) -> None:
    for _ in pipeline(pipeline.plan(epoch), epoch=epoch):
        pass


def peer(utterances: list[Utterance]) -> Callable[[], None]:
    """The tf.data pipeline that others write."""
    paths = [str(u.audio) for u in utterances]
    mel = tf.signal.linear_to_mel_weight_matrix(80, 257, 16000, 20.0, 8000.0)

    def features(path: tf.Tensor) -> tf.Tensor:
        samples = tf.numpy_function(lambda name: soundfile.read(name.decode(), dtype="float32")[0], [path], tf.float32)
        samples = tf.ensure_shape(samples, [None])
        spectrum = tf.signal.stft(samples, 400, 160, 512)
        power = tf.math.real(spectrum) ** 2 + tf.math.imag(spectrum) ** 2
        found = tf.math.log(tf.maximum(power @ mel, 1e-10))
        found = (found - tf.reduce_mean(found, 0)) / tf.math.reduce_std(found, 0)
        for axis, most in ((0, 100), (0, 100), (1, 27), (1, 27)):
            size = tf.shape(found)[axis]
            width = tf.minimum(tf.random.uniform([], 0, most, tf.int32), size)
            start = tf.random.uniform([], 0, size - width + 1, tf.int32)
            inside = (tf.range(size) >= start) & (tf.range(size) < start + width)
            found = tf.where(inside[:, None] if axis == 0 else inside[None], 0.0, found)
        return found

    data = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths)).map(features, num_parallel_calls=1)
    data = data.bucket_by_sequence_length(lambda x: tf.shape(x)[0], [1000, 1400], [12, 8, 6]).prefetch(2)

    def run() -> None:
        for _ in data:
            pass

    return run


def stages(reader: Reader, utterances: list[Utterance]) -> dict[str, Callable[[], object]]:
    """What a row of a batch is made of, each alone."""
    signals = [read_audio(u, FRONTEND.sample_rate) for u in utterances]
    features = [FRONTEND(s) for s in signals]
    norm, noise = asr_features.UtteranceNorm(), Noise(config=NoiseConfig(), sample_rate=FRONTEND.sample_rate)
    rng = np.random.default_rng(0)
    return {
        "decode FLAC": lambda: [read_audio(u, FRONTEND.sample_rate) for u in utterances],
        "speed 0.9, 1.0, 1.1": lambda: [
            asr_features.speed(s, SPEEDS[n % 3]) for n, s in enumerate(signals) if n % 3 != 1
        ],
        "pitch 1.1": lambda: [asr_features.speed(s, 1.1) for s in signals],
        "white or pink noise": lambda: [noise(s, rng) for s in signals],
        "gain": lambda: [asr_features.gain(s, 3.0) for s in signals],
        "kaldi-80 features": lambda: [FRONTEND(s) for s in signals],
        "normalisation": lambda: [norm(f) for f in features],
        "SpecAugment LD": lambda: [POLICY(f, rng) for f in features],
        "tokens": lambda: [reader.tokenizer.encode(u.text) for u in utterances],
    }


def step(seconds: int) -> float:
    """CPU seconds of loss and gradient of deepspeech2-small on that much audio, 8 s an utterance."""
    rows, frames, labels = seconds // 8, 800, 60
    config = asr_models.PRESETS["deepspeech2-small"]
    model = asr_models.DeepSpeech2(config, features=FRONTEND.dim, vocab_size=1000, seed=0)
    features = tf.random.stateless_normal([rows, frames, FRONTEND.dim], [0, 1])
    spoken = tf.random.stateless_uniform([rows, labels], [0, 2], 4, 1000, tf.int32)

    @tf.function(autograph=False)
    def gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            logits, lengths = model(features, tf.fill([rows], frames), training=True, seed=tf.constant([0, 1]))
            losses = asr_models.ctc_loss(logits, lengths, spoken, tf.fill([rows], labels), blank=0)
            loss = tf.reduce_sum(losses)
        return tape.gradient(loss, model.trainable_variables)

    return measured({"step": gradient}, 3)["step"]


def measured(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each, measured in turns after one round that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            before = time.process_time()
            call()
            spent[name].append(time.process_time() - before)
    return {name: statistics.median(times[1:]) for name, times in spent.items()}


def table(spent: dict[str, float], seconds: float, count: int) -> str:
    rows = [
        [name, f"{count / cpu:.0f}", f"{seconds / cpu:.0f}", f"{1000 * cpu / count:.3f}"] for name, cpu in spent.items()
    ]
    return interleave.table(["", "utterances/s", "hours an hour", "ms an utterance"], rows)


def padding(recipe: str) -> float:
    """The share of frames that are padding, rows that fill a fixed shape up among them."""
    like = corpus_of(recipe)
    spoken = utterances(like)
    if len(spoken) < like.count:  # too few to fill batches of their lengths
        spoken = made_up(like)
    pipeline = pipeline_of(recipe, spoken=spoken)
    consume(pipeline, 0)
    return pipeline.meter.take().padding


def main() -> None:
    parser = interleave.parser(str(__doc__).splitlines()[0], rounds=5)
    parser.add_argument("--utterances", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        utterances = corpus(folder, given.utterances)
        seconds = sum(u.seconds or 0.0 for u in utterances)
        tokenizer = Tokenizer.train([u.text for u in utterances], kind="char")
        plain = Reader(frontend=FRONTEND, normalize=asr_features.UtteranceNorm(), tokenizer=tokenizer)
        masked = dataclasses.replace(plain, augment=AugmentConfig(spec_augment=POLICY))
        fast = dataclasses.replace(plain, augment=AugmentConfig(spec_augment=POLICY, speed=SPEEDS))
        config = AugmentConfig(spec_augment=POLICY, speed=SPEEDS, pitch=SPEEDS, noise=NoiseConfig(), gain=(-6, 6))
        everything = dataclasses.replace(
            plain, augment=config, noise=Noise(config=NoiseConfig(), sample_rate=FRONTEND.sample_rate)
        )
        readers = {
            "FLAC, SpecAugment": masked,
            "FLAC, SpecAugment, speed": fast,
            "FLAC, all of that, pitch, noise": everything,
            "memory cache, SpecAugment": dataclasses.replace(masked, store=MemoryStore()),
            "disk cache, SpecAugment": dataclasses.replace(masked, store=DiskStore(folder / "cache", FRONTEND)),
        }
        data = DataConfig(threads=1)
        calls: dict[str, Callable[[], object]] = {
            name: partial(consume, Pipeline(utterances, reader, data=data), 0) for name, reader in readers.items()
        }
        calls["tf.data: FLAC, masks"] = peer(utterances)
        whole = measured(calls, given.rounds)
        alone = measured(stages(plain, utterances), given.rounds)
        spent = step(STEP)
        needed = whole["FLAC, SpecAugment, speed"] / seconds * STEP
        shares = {recipe: padding(recipe) for recipe in PADDED}
        goals = [("what it delivers / what a step consumes", spent / needed, 3.0)]
        parts = [
            " ".join(str(__doc__).split("\n\n")[2].split()),
            f"{len(utterances)} utterances, {seconds:.0f} s of audio.",
            f"## Whole\n\n{table(whole, seconds, len(utterances))}",
            f"## What a row of a batch is made of\n\n{table(alone, seconds, len(utterances))}",
            f"## What a step consumes\n\nA step of {STEP} s of audio takes {spent:.2f} CPU seconds; its data, FLAC "
            f"with SpecAugment and speed, {needed:.3f}.\n\n{interleave.goals(goals)}",
            "## Padding\n\n" + interleave.table(["", "padding"], [[n, f"{s:.1%}"] for n, s in shares.items()]),
        ]
        output = given.output or Path(__file__).parent / "results" / "pipeline.md"
        interleave.report(__file__, "From FLAC to batches", parts, ("tensorflow", "soundfile"), output)


if __name__ == "__main__":
    main()
