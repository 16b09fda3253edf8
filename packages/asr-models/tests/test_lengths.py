import numpy as np
import pytest
import tensorflow as tf

from asr_models.lengths import frame_mask, pad_for, strided


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 11])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_padded_convolution_has_the_announced_length_and_stays_centred(kernel: int, stride: int) -> None:
    for size in range(1, 24):
        before, after = pad_for(size, kernel, stride)
        padded = np.pad(np.arange(1, size + 1), (before, after))
        starts = range(0, len(padded) - kernel + 1, stride)
        assert len(starts) == strided(size, stride) == -(-size // stride)
        for t, start in enumerate(starts):
            assert padded[start + (kernel - 1) // 2] == t * stride + 1  # output t is centred on input t * stride


def test_padding_does_not_depend_on_whether_the_size_is_known() -> None:
    for size in range(1, 20):
        known, unknown = pad_for(size, 7, 2), pad_for(tf.constant(size), 7, 2)
        assert known[0] == unknown[0] and known[1] == int(unknown[1])


def test_mask() -> None:
    assert frame_mask(tf.constant([0, 2, 3]), 3).numpy().tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
