"""What depends on how far a run is, and on how well it does: the learning rate, and the end."""

from asr_train.checkpoint import Progress
from asr_train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, progress: float, factor: float = 1.0) -> float:
    """The rate of an update.

    Args:
        config: its `schedule` is one of
            warmup-linear: rises for `warmup_steps` (or for the share `warmup_rate` of the run) to `learning_rate` and
                falls in a line to `min_learning_rate` at the end of the run;
            constant: only rises;
            noam: falls with the square root of the step after it has risen (Vaswani et al., 2017, section 5.3), with
                `learning_rate` at its peak;
            ramp-hold-decay: rises for `warmup_steps`, holds until step `hold_steps`, decays exponentially to
                `min_learning_rate` at step `decay_steps`, and stays there (SpecAugment, Park et al., 2019, section 3);
            plateau: rises, then is multiplied by `plateau_factor` whenever the development set has not improved for
                `plateau_patience` validations.
        step: updates already made, from 0.
        progress: the part of the run that is over, 0 to 1.
        factor: what the plateaus so far have made of the rate.
    """
    peak, lowest, over = config.learning_rate, config.min_learning_rate, min(max(progress, 0.0), 1.0)
    rising = config.rising_steps
    if rising is None:
        warm = min(1.0, over / (config.warmup_rate or 1.0))
    else:
        warm = min(1.0, (step + 1) / rising) if rising else 1.0
    if config.schedule == "warmup-linear":
        return warm * (lowest + (peak - lowest) * (1 - over))
    if config.schedule == "noam":
        return peak * min(warm, ((rising or 1) / (step + 1)) ** 0.5)
    if config.schedule == "ramp-hold-decay" and step > config.hold_steps:
        decayed = min(1.0, (step - config.hold_steps) / max(config.decay_steps - config.hold_steps, 1))
        return float(peak * (lowest / peak) ** decayed)
    if config.schedule == "plateau":
        return warm * max(peak * factor, lowest)
    return peak * warm


def part_done(config: TrainConfig, progress: Progress, batches: int) -> float:
    """How much of the run is over, 0 to 1, by epochs or by time, whichever is further."""
    by_epochs = (progress.epoch + progress.batch / batches) / config.epochs
    by_time = progress.seconds / (config.max_minutes * 60) if config.max_minutes else 0.0
    return max(by_epochs, by_time)


def after_validation(config: TrainConfig, progress: Progress, wer: float, loss: float) -> bool:
    """Note the scores of an epoch, in place; whether they are the best so far."""
    best = progress.validated(wer, loss)
    memory = progress.schedule
    memory["waited"] = 0 if best else memory.get("waited", 0) + 1
    if memory["waited"] >= max(config.plateau_patience, 1):
        memory["waited"], memory["factor"] = 0, memory.get("factor", 1.0) * config.plateau_factor
    return best


def done(config: TrainConfig, progress: Progress) -> bool:
    """Whether the epochs are over, or the time, or the patience."""
    late = config.max_minutes is not None and progress.seconds >= config.max_minutes * 60
    tired = config.patience is not None and progress.stale >= config.patience
    return progress.epoch >= config.epochs or late or tired
