"""Batches whose loss or gradient is no number: skipped, noted, and not too many in a row."""

import json
from collections.abc import Sequence
from pathlib import Path

from asr_train.checkpoint import Progress
from asr_train.errors import UserError
from asr_train.files import writing
from asr_train.steps import Outcome


class Nonfinite:
    """Counts them; `path` gets a line of JSON for each, with the ids of its utterances.

    Args:
        path: of the notes; none for a worker that does not write.
        most: so many in a row may be.
    """

    def __init__(self, path: Path | None, *, most: int) -> None:
        self.path, self.most, self.in_row = path, most, 0

    def see(self, outcome: Outcome, progress: Progress, ids: Sequence[str]) -> None:
        """Note what became of a step.

        Raises:
            UserError: one more in a row than may be.
        """
        if outcome.finite or outcome.overflow:
            self.in_row = 0 if outcome.finite else self.in_row
            return
        self.in_row += 1
        where = {"step": progress.step, "epoch": progress.epoch + 1, "batch": progress.batch}
        if self.path is not None:
            with (
                writing(self.path, "make room, and continue with --resume"),
                self.path.open("a", encoding="utf-8") as file,
            ):
                file.write(
                    json.dumps({**where, "loss": str(outcome.loss), "ids": list(ids)}, ensure_ascii=False) + "\n"
                )
        if self.in_row > self.most:
            raise UserError(
                f"{self.in_row} steps in a row gave no finite loss, the last at step {progress.step} ({ids[0]}, ...): "
                f"lower train.learning_rate, or look at the utterances in {self.path or 'nonfinite.jsonl'}"
            )
