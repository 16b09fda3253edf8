"""Draw the loss and the word error rate of runs over their epochs, from their train.log.

python tools/curves.py figure.svg runs/a runs/b      (needs matplotlib)
"""

import json
import sys
from pathlib import Path
from typing import Any


def epochs(run: Path) -> list[dict[str, Any]]:
    """What a run told of each of its epochs; of one that was gone through again, the last."""
    lines = [json.loads(line) for line in (run / "train.log").read_text(encoding="utf-8").splitlines()]
    told = {line["epoch"]: line for line in lines if line["event"] == "epoch"}
    return [told[epoch] for epoch in sorted(told)]


def draw(output: Path, runs: list[Path]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "curves"  # equal runs give equal files
    from matplotlib import pyplot

    figure, (losses, errors) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for number, run in enumerate(runs):
        found, color = epochs(run), f"C{number}"
        at = [one["epoch"] for one in found]
        losses.plot(at, [one["loss"] for one in found], color=color, alpha=0.4, label=f"{run.name}, training")
        losses.plot(at, [one["dev_loss"] for one in found], color=color, label=f"{run.name}, dev")
        errors.plot(at, [100 * one["wer"] for one in found], color=color, label=run.name)
    losses.set(xlabel="epoch", ylabel="loss a label", ylim=(0, 3.5))
    errors.set(xlabel="epoch", ylabel="WER of the dev set, %", ylim=(0, 60))
    for axes in (losses, errors):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    draw(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
