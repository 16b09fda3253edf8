"""Learning rates: pure functions of how far a run is."""

from asr_train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """The rate for a step.

    Args:
        config: `warmup-linear` rises for `warmup_steps` to `learning_rate` and falls in a line to
            `min_learning_rate` at the end of the run; `constant` only rises.
        step: steps already made, from 0.
        progress: the part of the run that is over, 0 to 1.
    """
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return config.learning_rate * warm
    fall = config.learning_rate - config.min_learning_rate
    return warm * (config.min_learning_rate + fall * (1 - min(max(progress, 0.0), 1.0)))
