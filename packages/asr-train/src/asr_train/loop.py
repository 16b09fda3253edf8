"""The training loop: epochs of steps, then a validation; made to be read, and to be copied.

Every worker runs it in step with the others. Only the chief writes; what depends on a clock or a signal is the chief's
to say or is voted on, so that all do the same.
"""

import signal
import time
from collections.abc import Sequence

from asr_train.averaging import mean_of_steps
from asr_train.cluster import Cluster
from asr_train.evaluation import Evaluation
from asr_train.plan import Ints
from asr_train.rehearsal import memory_advice
from asr_train.run import Run
from asr_train.schedules import after_validation, done, learning_rate, part_done
from asr_train.steps import Outcome, knobs_for
from asr_train.stopping import Stopped
from asr_train.training import Training


def train(run: Run, *, cluster: Cluster | None = None, quiet: bool = False) -> Evaluation | None:
    """Train from the newest checkpoint, or from the start.

    Args:
        run: what `prepare` made.
        cluster: the workers, if there are several; a `Watch` should be open.
        quiet: write to the run's folder alone.

    Returns:
        The last validation, on the chief; none if the run was finished already.

    Raises:
        UserError: audio that cannot be read, a checkpoint of another model, memory or disk that is short.
        Stopped: by a signal, after a checkpoint.
    """
    training, last = Training(run, cluster, quiet=quiet), None
    with training.reporter, training.stop:
        training.begin()
        try:
            while not done(run.config.train, training.progress):
                run_epoch(training)
                last = validate(training)
                training.save()
            if run.config.train.average != "none" and not training.progress.averaged:
                last = average(training)
        except Stopped:
            training.save()
            raise
    return last


def run_epoch(training: Training) -> None:
    """The rest of the epoch that the run stands in."""
    run, progress, data, config = training.run, training.progress, training.data, training.run.config.train
    planned = data.plan(progress.epoch)[: config.steps_per_epoch]
    batches = data(planned, epoch=progress.epoch, start=progress.batch, shard=training.devices.shard)
    before = time.perf_counter()
    for batch in training.meter.watch(batches):
        part, updates = part_done(config, progress, len(planned)), progress.step // config.accumulate
        rate = learning_rate(config, updates, part, progress.schedule.get("factor", 1.0))
        with memory_advice(run.config, f"batch {progress.batch} of epoch {progress.epoch + 1}"):
            outcome = training.step(batch, knobs_for(config, progress.step), training.wishes(rate))
        now = time.perf_counter()
        progress.seconds, before = progress.seconds + now - before, now
        if after_step(training, outcome, planned, part):
            break


def after_step(training: Training, outcome: Outcome, planned: Sequence[Ints], part: float) -> bool:
    """Note what became of a batch, and do what was voted; whether the time is up."""
    progress, rows = training.progress, planned[training.progress.batch]
    rate, stop, save, over = outcome.votes
    training.nonfinite.see(outcome, progress, [training.run.train[row].id for row in rows])
    progress.step, progress.batch = progress.step + 1, progress.batch + 1
    if outcome.finite:
        progress.loss, progress.tokens = progress.loss + outcome.loss, progress.tokens + outcome.labels
    scalars = {"loss": outcome.loss / max(outcome.labels, 1.0), "learning_rate": rate, "gradient": outcome.norm}
    training.reporter.step(progress, scalars, batches=len(planned), part=part, rows=rows)
    if training.devices.cluster is None and training.stop.asked is not None:
        stop = 1.0  # it came after the vote; alone, none need agree
    if stop:
        raise Stopped(training.stop.asked or signal.SIGTERM)
    if save:
        training.save()
    return over > 0


def validate(training: Training) -> Evaluation | None:
    """Loss and WER on the development set; the best recogniser so far is kept. Ends the epoch."""
    progress, supply = training.progress, training.meter.take()
    with training.state.averaged():
        wer, loss, result = training.scores(progress)
        progress.epoch, progress.batch = progress.epoch + 1, 0
        best = after_validation(training.run.config.train, progress, wer, loss)
        if result:
            measures = {"padding": supply.padding, "input_wait": supply.wait_share}
            training.reporter.epoch(progress, loss, result, measures)
            if best:
                training.scores.keep(progress, result)
    progress.loss = progress.tokens = 0.0
    return result


def average(training: Training) -> Evaluation | None:
    """The mean of the last or best checkpoints; it is the recogniser if it is no worse than the best so far."""
    config, progress = training.run.config.train, training.progress
    steps = progress.best(config.keep_best) if config.average == "best" else progress.last(config.keep_last)
    training.devices.share([0.0])  # the chief has written them all
    with training.state.wearing(mean_of_steps(training.run.checkpoints, steps)):
        wer, loss, result = training.scores(progress)
        better = (wer, loss) <= min(progress.scores)[:2]
        if result:
            training.reporter.average(steps, loss, result, taken=better)
            if better:
                training.scores.keep(progress, result)
    progress.averaged = True
    training.save()
    return result
