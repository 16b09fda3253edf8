"""How good a model in training is: the loss of the development set on all workers, and its WER on the chief."""

import signal

from asr_train import model_dir
from asr_train.batches import Pipeline
from asr_train.card import model_card
from asr_train.checkpoint import Progress
from asr_train.devices import Devices
from asr_train.evaluation import Evaluation, evaluate
from asr_train.families import Family
from asr_train.feeding import dev_data
from asr_train.recognizer import Recognizer
from asr_train.run import Run
from asr_train.steps import validation_step
from asr_train.stopping import Stop, Stopped


class Scoring:
    """Scores the model as it is at the moment, and keeps it for use."""

    def __init__(self, run: Run, devices: Devices, family: Family, stop: Stop) -> None:
        self.run, self.devices, self.family, self.stop = run, devices, family, stop
        self.step = validation_step(family, devices, fixed_shapes=run.config.data.static_shapes)
        self.dev: Pipeline = dev_data(run)

    def __call__(self, progress: Progress) -> tuple[float, float, Evaluation | None]:
        """WER and loss, the same on all workers, and the details on the chief; all get the chief's time, too.

        Raises:
            Stopped: by a signal.
        """
        stopped, result, loss = False, None, 0.0
        try:
            loss = self.loss()
            if self.devices.chief:
                seconds = self.run.config.data.batch_seconds
                result = evaluate(self.recognizer, self.run.dev, batch_seconds=seconds, progress=self.stop.check)
        except Stopped:
            stopped = True
        wer = result.words.rate if result else 0.0
        wer, progress.seconds, ended = self.devices.share([wer, progress.seconds, float(stopped)])
        if ended:
            raise Stopped(self.stop.asked or signal.SIGTERM)
        return wer, loss, result

    def loss(self) -> float:
        """Loss a label."""
        sums = []
        for batch in self.dev(self.dev.plan(), shard=self.devices.shard):
            sums.append(self.step(batch))
            if self.devices.cluster is None:  # several workers must stop at one point
                self.stop.check()
        return sum(total for total, _ in sums) / max(sum(labels for _, labels in sums), 1.0)

    @property
    def recognizer(self) -> Recognizer:
        """The model as it is, with all that it needs to be used."""
        run = self.run
        return Recognizer(
            frontend=run.config.features,
            normalize=run.normalize,
            family=self.family,
            tokenizer=run.tokenizer,
            decode=run.config.decode,
        )

    def keep(self, progress: Progress, result: Evaluation) -> None:
        """Write the model folder."""
        card = model_card(self.run, self.family.model, progress, result)
        model_dir.save(self.run.model, self.recognizer, card)
