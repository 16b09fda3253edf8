from pathlib import Path

import numpy as np
import pytest

from asr_features import POLICIES, PRESETS, UtteranceNorm
from asr_train.batches import Pipeline, Reader, pad, padding_share, plan
from asr_train.config import AugmentConfig
from asr_train.errors import UserError
from asr_train.manifest import Utterance, measure, read_manifest
from asr_train.tokenizer import Tokenizer

FRONTEND = PRESETS["kaldi-23"]


@pytest.mark.parametrize("buckets", [1, 3, 50])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_every_row_is_in_one_batch_of_bounded_size(buckets: int, seed: int | None) -> None:
    seconds = np.random.default_rng(2).gamma(3, 2, 101).tolist()
    rng = None if seed is None else np.random.default_rng(seed)
    planned = plan(seconds, batch_seconds=30, buckets=buckets, rng=rng)
    assert sorted(np.concatenate(planned).tolist()) == list(range(101))
    for rows in planned:
        assert len(rows) == 1 or max(seconds[r] for r in rows) * len(rows) <= 30


def test_plan_is_a_function_of_its_seed() -> None:
    seconds = np.random.default_rng(2).gamma(3, 2, 60).tolist()
    plans = [
        [rows.tolist() for rows in plan(seconds, batch_seconds=30, buckets=4, rng=np.random.default_rng(s))]
        for s in (1, 1, 2)
    ]
    assert plans[0] == plans[1] != plans[2]


def test_buckets_save_padding() -> None:
    seconds = np.random.default_rng(2).gamma(3, 2, 2000).tolist()
    shares = [
        padding_share(seconds, plan(seconds, batch_seconds=100, buckets=n, rng=np.random.default_rng(0)))
        for n in (1, 4, 16)
    ]
    assert shares[0] > 0.4 > shares[1] > shares[2] and shares[2] < 0.12
    assert padding_share([2.0, 1.0], [np.array([0, 1], np.int32)]) == pytest.approx(0.25)


def test_pad() -> None:
    assert pad([np.array([1, 2]), np.array([3])]).tolist() == [[1, 2], [3, 0]]
    assert pad([np.zeros((0, 3), np.float32)]).shape == (1, 0, 3)


def a_reader(corpus: Path, augment: AugmentConfig | None = None) -> tuple[Reader, list[Utterance]]:
    utterances = measure(read_manifest(corpus / "train.tsv"))
    tokenizer = Tokenizer.train([u.text for u in utterances], kind="char")
    return Reader(
        frontend=FRONTEND, normalize=UtteranceNorm(), tokenizer=tokenizer, augment=augment, seed=3
    ), utterances


def test_batches_hold_each_utterance_alone_and_zeros_behind_it(corpus: Path) -> None:
    reader, utterances = a_reader(corpus)
    planned = plan([u.seconds for u in utterances], batch_seconds=12)
    batches = list(Pipeline(utterances, reader)(planned))
    assert [batch.rows.numpy().tolist() for batch in batches] == [rows.tolist() for rows in planned]
    for batch in batches:
        for n, row in enumerate(batch.rows.numpy()):
            features, labels = reader(utterances[row], int(row), 0)
            frames, count = int(batch.feature_lengths[n]), int(batch.label_lengths[n])
            assert np.array_equal(batch.features[n, :frames], features) and not batch.features.numpy()[n, frames:].any()
            assert np.array_equal(batch.labels[n, :count], labels) and not batch.labels.numpy()[n, count:].any()


def test_starting_late_gives_the_rest_of_the_plan(corpus: Path) -> None:
    reader, utterances = a_reader(corpus, AugmentConfig(spec_augment="LD", speed=(0.9, 1.1)))
    planned = plan([u.seconds for u in utterances], batch_seconds=12)
    whole, rest = (list(Pipeline(utterances, reader)(planned, epoch=4, start=n)) for n in (0, 2))
    assert len(rest) == len(whole) - 2
    for a, b in zip(whole[2:], rest, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_augmentation_differs_by_epoch_and_masks_are_not_padding(corpus: Path) -> None:
    plain, utterances = a_reader(corpus)
    masked, _ = a_reader(corpus, AugmentConfig(spec_augment=POLICIES["LD"]))
    first, again, later = (masked(utterances[0], 0, epoch)[0] for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    planned = plan([u.seconds for u in utterances], batch_seconds=12)
    for a, b in zip(Pipeline(utterances, plain)(planned), Pipeline(utterances, masked)(planned), strict=True):
        assert np.array_equal(a.feature_lengths, b.feature_lengths)
        assert not np.array_equal(a.features, b.features)


def test_speed_changes_the_length(corpus: Path) -> None:
    plain, utterances = a_reader(corpus)
    slow, _ = a_reader(corpus, AugmentConfig(speed=(0.8,)))
    frames = [len(reader(utterances[0], 0, 0)[0]) for reader in (plain, slow)]
    assert frames[1] == pytest.approx(frames[0] / 0.8, abs=4)


def test_unreadable_audio_is_named_by_its_row(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"this is not audio")
    reader, _ = a_reader(corpus)
    broken = Utterance(id="a", audio=tmp_path / "a.flac", text="one", row="train.tsv:7")
    with pytest.raises(UserError, match=r"^train.tsv:7: .*a\.flac"):
        reader(broken, 0, 0)
    pipeline = Pipeline([broken], reader)
    with pytest.raises(Exception, match="train.tsv:7"):
        list(pipeline([np.array([0], np.int32)]))
    assert isinstance(pipeline.error, UserError)


@pytest.mark.parametrize("speed", [(), (0.1,), (3.0,)])
def test_impossible_speeds_are_refused(speed: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected factors from 0.5 to 2"):
        AugmentConfig(speed=speed)
