"""Writes ctc_torch.npz: losses and gradients of PyTorch's CTCLoss in float64. `python ctc_torch.py`, needs torch."""

from pathlib import Path

import numpy as np
import torch

FRAMES, VOCABULARY, BLANK = 40, 11, 4
LENGTHS, LABEL_LENGTHS = (40, 33, 12, 25, 9), (12, 7, 6, 0, 8)


def main() -> None:
    rng = np.random.default_rng(0)
    logits = (2 * rng.normal(size=(len(LENGTHS), FRAMES, VOCABULARY))).astype(np.float32)
    # Few of the symbols, so that they repeat; 4 is the blank.
    labels = rng.choice([0, 1, 7], (len(LENGTHS), max(LABEL_LENGTHS)))
    labels[4, :8] = [0, 1, 0, 1, 1, 0, 1, 0]  # its eight need nine frames, all that it has
    values = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    losses = torch.nn.CTCLoss(blank=BLANK, reduction="none")(
        values.log_softmax(-1).transpose(0, 1),
        torch.tensor(labels),
        torch.tensor(LENGTHS),
        torch.tensor(LABEL_LENGTHS),
    )
    losses.sum().backward()
    np.savez_compressed(
        Path(__file__).with_suffix(".npz"),
        logits=logits,
        lengths=np.array(LENGTHS),
        labels=labels,
        label_lengths=np.array(LABEL_LENGTHS),
        blank=BLANK,
        losses=losses.detach().numpy(),
        gradient=values.grad.numpy().astype(np.float32),
    )


if __name__ == "__main__":
    main()
