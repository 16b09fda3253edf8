"""The training loop: epochs of steps, then a validation; made to be read, and to be copied."""

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_train import checkpoint, model_dir
from asr_train.batches import Pipeline, Reader, plan
from asr_train.card import model_card
from asr_train.checkpoint import Progress
from asr_train.config import TrainConfig
from asr_train.evaluation import Evaluation, evaluate
from asr_train.families import Family, build_family
from asr_train.recognizer import Recognizer
from asr_train.reporter import Reporter
from asr_train.run import Run
from asr_train.schedules import learning_rate
from asr_train.steps import Step, training_step, validation_step


def train(run: Run, *, quiet: bool = False) -> Evaluation | None:
    """Train from the newest checkpoint, or from the start.

    Returns:
        The last validation; none if the run was finished already.

    Raises:
        UserError: audio that cannot be read, a checkpoint of another model.
    """
    config = run.config.train
    family = build_family(
        run.config.model,
        features=run.config.features.dim,
        tokenizer=run.tokenizer,
        seed=config.seed,
        smoothing=config.label_smoothing,
        ctc_weight=config.ctc_weight,
    )
    optimizer = keras.optimizers.Adam(config.learning_rate)
    optimizer.build(family.model.trainable_variables)
    with Reporter(run, quiet=quiet) as reporter:
        found, complaints = checkpoint.newest(run.checkpoints)
        progress = checkpoint.restore(found, family.model, optimizer) if found else Progress()
        for note in (*run.notes, *complaints):
            reporter.say(note)
        reporter.begin(family.model, progress)
        step, dev_step = training_step(family, optimizer, config.clip_norm), validation_step(family)
        last = None
        while not finished(config, progress):
            run_epoch(run, step, optimizer, family, progress, reporter)
            last = validate(run, dev_step, family, progress, reporter)
            checkpoint.save(run.checkpoints, family.model, optimizer, progress)
        return last


def finished(config: TrainConfig, progress: Progress) -> bool:
    """Whether the epochs are done, or the time is up."""
    return progress.epoch >= config.epochs or (
        config.max_minutes is not None and progress.seconds >= config.max_minutes * 60
    )


def run_epoch(run: Run, step: Step, optimizer: Any, family: Family, progress: Progress, reporter: Reporter) -> None:
    """The rest of the epoch that `progress` stands in."""
    config, data = run.config.train, run.config.data
    rng = np.random.default_rng([config.seed, progress.epoch])
    seconds = [u.seconds or 0.0 for u in run.train]
    planned = plan(seconds, batch_seconds=data.batch_seconds, buckets=data.buckets, rng=rng)
    pipeline = Pipeline(run.train, reader(run, training=True))
    before = time.perf_counter()
    try:
        for batch in pipeline(planned, epoch=progress.epoch, start=progress.batch):
            rate = learning_rate(config, progress.step, part_done(config, progress, len(planned)))
            optimizer.learning_rate.assign(rate)
            total, labels = step(*batch, tf.constant([config.seed, progress.step]))
            progress.step, progress.batch = progress.step + 1, progress.batch + 1
            progress.loss, progress.tokens = progress.loss + float(total), progress.tokens + float(labels)
            now = time.perf_counter()
            progress.seconds, before = progress.seconds + now - before, now
            reporter.step(progress, float(total) / float(labels), rate, len(planned), len(batch.rows))
            if progress.step % config.checkpoint_steps == 0:
                checkpoint.save(run.checkpoints, family.model, optimizer, progress)
            if config.max_minutes is not None and progress.seconds >= config.max_minutes * 60:
                break
    except tf.errors.OpError:
        if pipeline.error is None:
            raise
        raise pipeline.error from None


def part_done(config: TrainConfig, progress: Progress, batches: int) -> float:
    """How much of the run is over, 0 to 1, by epochs or by time, whichever is further."""
    by_epochs = (progress.epoch + progress.batch / batches) / config.epochs
    by_time = progress.seconds / (config.max_minutes * 60) if config.max_minutes else 0.0
    return max(by_epochs, by_time)


def reader(run: Run, *, training: bool) -> Reader:
    """How utterances of this run are read."""
    return Reader(
        frontend=run.config.features,
        normalize=run.normalize,
        tokenizer=run.tokenizer,
        augment=run.config.augment if training else None,
        seed=run.config.train.seed,
    )


def validate(run: Run, step: Step, family: Family, progress: Progress, reporter: Reporter) -> Evaluation:
    """Loss and WER on the development set; the best recogniser so far is kept. Ends the epoch."""
    recognizer = Recognizer(
        frontend=run.config.features,
        normalize=run.normalize,
        family=family,
        tokenizer=run.tokenizer,
        decode=run.config.decode,
    )
    loss = dev_loss(run, step)
    result = evaluate(recognizer, run.dev, batch_seconds=run.config.data.batch_seconds)
    progress.epoch, progress.batch = progress.epoch + 1, 0
    reporter.epoch(progress, loss, result)
    progress.loss = progress.tokens = 0.0
    if (result.words.rate, loss) < progress.best:
        progress.best = (result.words.rate, loss)
        model_dir.save(run.model, recognizer, model_card(run, family.model, progress, result))
    return result


def dev_loss(run: Run, step: Step) -> float:
    """Loss a label on the development set."""
    planned = plan([u.seconds or 0.0 for u in run.dev], batch_seconds=run.config.data.batch_seconds)
    pipeline = Pipeline(run.dev, reader(run, training=False))
    try:
        sums = np.sum([[float(value) for value in step(*batch)] for batch in pipeline(planned)], axis=0)
    except tf.errors.OpError:
        if pipeline.error is None:
            raise
        raise pipeline.error from None
    return float(sums[0] / sums[1])
