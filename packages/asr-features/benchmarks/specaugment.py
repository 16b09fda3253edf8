"""SpecAugment with time warp against those that warp too: CPU time, one thread, in turns."""

import interleave  # first: it sets the limits on threads
import numpy as np

from asr_features import POLICIES

B, T, F = 32, 1500, 80
MODULES = ("tensorflow", "torch", "lhotse")

# Name, what it needs, whose it is, and how many times our CPU time the quickest of theirs is to take.
ROWS = [
    ("a copy of the batch", "numpy", "", None),
    ("`POLICIES['LD'].batch`, numpy", "numpy", "ours", 3),
    ("`POLICIES['adaptive'].batch`, numpy", "numpy", "ours", None),
    ("`spec_augment(POLICIES['LD'])`, tf.function", "tensorflow", "ours", None),
    ("`spec_augment(POLICIES['LD'])`, XLA", "tensorflow", "ours", 5),
    ("lhotse SpecAugment", "lhotse torch", "theirs", None),
    ("ESPnet's SpecAug, its formulas in torch", "torch", "theirs", None),
]


def ours(features, lengths, seeds):
    ld, adaptive = POLICIES["LD"], POLICIES["adaptive"]
    calls = [
        features.copy,
        lambda: ld.batch(features, lengths, seeds),
        lambda: adaptive.batch(features, lengths, seeds),
    ]
    if interleave.present("tensorflow"):
        import tensorflow as tf

        from asr_features.tf import spec_augment

        batch = [tf.constant(part) for part in (features, lengths, seeds)]
        for compiled in (False, True):
            function = tf.function(spec_augment(ld), jit_compile=compiled)
            calls.append(lambda function=function: function(*batch))
    else:
        calls += [None, None]
    return calls


def lhotse(features):
    """One utterance after the other: a bicubic warp, then masks of the utterance's mean."""
    import torch
    from lhotse.dataset import SpecAugment

    augment = SpecAugment(
        time_warp_factor=80,
        num_feature_masks=2,
        features_mask_size=27,
        num_frame_masks=2,
        frames_mask_size=100,
        max_frames_mask_fraction=1.0,
        p=1.0,
    )
    batch = torch.from_numpy(features.copy())
    return lambda: augment(batch)


def espnet(features):
    """espnet2/layers/time_warp.py and mask_along_axis.py: where lengths are equal, one bicubic warp for all."""
    import torch

    batch = torch.from_numpy(features.copy())

    def draw(low, high, *shape):
        return torch.randint(low, high, shape or (1,))

    def warp(x, window):
        center = int(draw(window, T - window))
        moved = int(draw(center - window, center + window)) + 1
        for source, target in ((x[:, :, :center], x[:, :, :moved]), (x[:, :, center:], x[:, :, moved:])):
            yield torch.nn.functional.interpolate(source, target.shape[2:], mode="bicubic", align_corners=False)

    def mask(x, axis, width, count):
        size = x.shape[axis]
        widths = draw(0, width, B, count)[..., None]
        starts = draw(0, max(1, size - int(widths.max())), B, count)[..., None]
        place = torch.arange(size)
        masked = ((starts <= place) & (place < starts + widths)).any(dim=1)
        x.masked_fill_(masked.unsqueeze(3 - axis), 0.0)

    def call():
        x = torch.cat(list(warp(batch[:, None], 80)), dim=2)[:, 0]
        mask(x, 2, 27, 2)
        mask(x, 1, 100, 2)
        return x

    return call


PEERS = [(lhotse, "lhotse torch"), (espnet, "torch")]


def main() -> None:
    options = interleave.arguments(__doc__, rounds=25)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((B, T, F)).astype(np.float32)
    calls = ours(features, np.full(B, T), rng.integers(0, 2**63, B))
    calls += [make(features) if interleave.present(need) else None for make, need in PEERS]
    rows = [(row, call) for row, call in zip(ROWS, calls, strict=True) if call]
    seconds = interleave.interleave({row[0]: call for row, call in rows}, options.rounds)
    others = [seconds[name] for (name, _, whose, _), _ in rows if whose == "theirs"]
    lines = []
    for (name, _, whose, goal), _ in rows:
        ratio = f"**{min(others) / seconds[name]:.1f}**" if whose == "ours" and others else ""
        lines.append([name, f"{1000 * seconds[name]:.2f}", ratio, goal or ""])
    header = ["a batch of 32 x 1500 x 80", "CPU, ms", "times quicker than the quickest other", "goal"]
    text = (
        "Time warp of up to 80 frames, two frequency masks of up to 27 features and two time masks of up to 100 frames "
        f"(the policy LD), on one thread; the medians of {options.rounds} rounds in turns."
    )
    interleave.report(__file__, "SpecAugment", [text, interleave.table(header, lines)], MODULES, options.output)


if __name__ == "__main__":
    main()
