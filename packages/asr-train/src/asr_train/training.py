"""A run in progress: what the loop changes, and what it needs to do so."""

import keras
import tensorflow as tf

from asr_train import checkpoint
from asr_train.checkpoint import Progress, Timer
from asr_train.cluster import Cluster
from asr_train.devices import open_devices
from asr_train.families import build_family
from asr_train.feeding import training_data
from asr_train.finetune import start_from
from asr_train.meter import Meter
from asr_train.nonfinite import Nonfinite
from asr_train.rehearsal import rehearse
from asr_train.reporter import Reporter
from asr_train.run import Run
from asr_train.schedules import done
from asr_train.scoring import Scoring
from asr_train.state import TrainingState
from asr_train.steps import training_step
from asr_train.stopping import Stop


class Training:
    """Opens the devices, builds the model on them, and takes up the run where it was."""

    def __init__(self, run: Run, cluster: Cluster | None = None, *, quiet: bool = False) -> None:
        config, self.run = run.config.train, run
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
            keras.utils.set_random_seed(config.seed)
        self.devices = open_devices(config.device, config.strategy, cluster)
        with self.devices.strategy.scope():
            self.family = build_family(
                run.config.model,
                features=run.config.features.dim,
                tokenizer=run.tokenizer,
                seed=config.seed,
                smoothing=config.label_smoothing,
                ctc_weight=config.ctc_weight,
                precision=config.precision,
            )
            self.state = TrainingState(self.family.model, config)
        fixed, chief, self.meter = run.config.data.static_shapes, self.devices.chief, Meter()
        self.step = training_step(self.family, self.state, self.devices, fixed_shapes=fixed)
        own_list = None if chief else run.output / f"quarantine-{self.devices.shard[0]}.tsv"
        self.data = training_data(run, meter=self.meter, quarantine=own_list)
        self.nonfinite = Nonfinite(run.output / "nonfinite.jsonl" if chief else None, most=config.max_nonfinite)
        self.timer = Timer(steps=config.checkpoint_steps, minutes=config.checkpoint_minutes)
        self.reporter, self.stop = Reporter(run, quiet=quiet, chief=chief), Stop()
        self.scores = Scoring(run, self.devices, self.family, self.stop)
        self.progress = Progress()

    def begin(self) -> None:
        """Take up the newest checkpoint or the weights to start from, and try the largest batch.

        Raises:
            UserError: a checkpoint of another run or version, weights that do not fit, too little memory.
        """
        notes, (found, complaints) = list(self.run.notes), checkpoint.newest(self.run.checkpoints)
        if found:
            groups, self.progress = checkpoint.read(found)
            self.state.assign(groups, str(found))
        else:
            if self.run.config.train.init_from is not None:
                notes += start_from(self.run.config.train.init_from, self.family.model, self.run.tokenizer)
            self.state.begin_average()
        for note in (*notes, *complaints):
            self.reporter.say(note)
        self.reporter.begin(self.family.model, self.progress)
        self.reporter.say(f"on {self.devices.describe()}")
        if not done(self.run.config.train, self.progress):
            rehearse(self.step, self.data, self.devices, self.run.config, self.reporter.say)

    def wishes(self, rate: float) -> list[float]:
        """Votes: the learning rate, and whether to stop, to save, and to end the run because its time is up."""
        config, chief = self.run.config.train, self.devices.chief
        over = config.max_minutes is not None and self.progress.seconds >= config.max_minutes * 60
        save = chief and self.timer.due(self.progress.step + 1)
        return [rate if chief else 0.0, float(self.stop.asked is not None), float(save), float(chief and over)]

    def save(self) -> None:
        """Write a checkpoint, if this is the chief."""
        if self.devices.chief:
            groups = {group: arrays for group, arrays in self.state.arrays().items() if arrays}
            config = self.run.config.train
            kept = {"keep_last": config.keep_last, "keep_best": config.keep_best}
            checkpoint.save(self.run.checkpoints, groups, self.progress, **kept)
