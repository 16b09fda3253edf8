"""Log-probabilities to try decoders with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def random_posteriors(
    tokens: Sequence[int], num_frames: int, vocab_size: int, rng: np.random.Generator, *, blank: int = 0
) -> NDArray[np.float32]:
    """(T, V) log-probabilities as a trained CTC model gives them for the tokens.

    Mostly confident blanks; a spike for each token at increasing places, a blank between equal ones; every
    token has rivals that come close, and one spike in twelve is won by a rival; spikes leak into the next
    frame; correlated noise. Raises ValueError where the tokens do not fit into the frames.
    """
    least = [1 + (u > 0 and tokens[u - 1] == token) for u, token in enumerate(tokens)]
    if sum(least) > num_frames:
        raise ValueError(f"{len(tokens)} tokens need {sum(least)} frames, got {num_frames}")
    logits = rng.normal(0, 1.5, (num_frames, vocab_size))
    logits[1:] += 0.7 * logits[:-1]
    logits[:, blank] = rng.normal(12, 2, num_frames)
    slack = np.sort(rng.integers(0, num_frames - sum(least) + 1, len(tokens)))
    places = np.cumsum(least, dtype=np.intp) - 1 + slack
    labels = [token for token in range(vocab_size) if token != blank]
    rivals = {token: rng.choice(labels, min(4, len(labels)), replace=False) for token in set(tokens)}
    for token, place in zip(tokens, places.tolist(), strict=True):
        logits[place, blank] = rng.normal(9, 2)
        logits[place, rivals[token]] = rng.normal(8, 2, len(rivals[token]))
        spike = rng.normal(15, 1.5)
        logits[place, token] = spike
        if rng.random() < 1 / 12:
            logits[place, rng.choice(rivals[token])] = spike + 0.5
        if place + 1 < num_frames and place + 1 not in places:
            logits[place + 1, token] = logits[place + 1, blank] - rng.gamma(2, 2)
    top = logits.max(axis=1, keepdims=True)
    log_probs: NDArray[np.float64] = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return log_probs.astype(np.float32)
