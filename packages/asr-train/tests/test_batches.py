import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_features import POLICIES, PRESETS, UtteranceNorm
from asr_train.batches import Batch, Pipeline, pad
from asr_train.config import AugmentConfig, DataConfig, NoiseConfig
from asr_train.errors import UserError
from asr_train.manifest import Utterance, measure, read_manifest
from asr_train.meter import Meter
from asr_train.noise import load_noise
from asr_train.plan import padding_share, plan
from asr_train.quarantine import Quarantine
from asr_train.reader import Reader
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
    assert shares[0] > 0.35 > shares[1] > shares[2] and shares[2] < 0.08
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


def test_unreadable_audio_is_named_by_its_row(corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.flac").write_bytes(b"this is not audio")
    reader, _ = a_reader(corpus)
    broken = Utterance(id="a", audio=tmp_path / "a.flac", text="one", row="train.tsv:7")
    with pytest.raises(UserError, match=r"^train.tsv:7: .*a\.flac"):
        reader(broken, 0, 0)
    pipeline = Pipeline([broken], reader)
    with pytest.raises(UserError, match=r"^train.tsv:7: .*a\.flac"):
        list(pipeline([np.array([0], np.int32)]))
    assert "Traceback" not in capfd.readouterr().err  # of a reading thread, by TensorFlow


@pytest.mark.parametrize("speed", [(), (0.1,), (3.0,)])
def test_impossible_speeds_are_refused(speed: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected factors from 0.5 to 2"):
        AugmentConfig(speed=speed)


AUGMENT = AugmentConfig(
    speed=(0.9, 1.0, 1.1),
    pitch=(0.95, 1.0, 1.05),
    spec_augment=POLICIES["LD"],
    noise=NoiseConfig(probability=0.5),
    gain=(-6, 6),
)


def a_pipeline(corpus: Path, **data: Any) -> Pipeline:
    reader, utterances = a_reader(corpus, AUGMENT)
    reader = dataclasses.replace(reader, noise=load_noise(AUGMENT.noise, FRONTEND.sample_rate))
    return Pipeline(utterances, reader, data=DataConfig(batch_seconds=12, buckets=2, **data))


def by_row(batches: list[Batch]) -> dict[int, tuple[bytes, list[int]]]:
    """What each row was, without its padding."""
    found = {}
    for batch in batches:
        for n, row in enumerate(batch.rows.numpy()):
            frames, count = int(batch.feature_lengths[n]), int(batch.label_lengths[n])
            if row >= 0:
                found[int(row)] = batch.features.numpy()[n, :frames].tobytes(), batch.labels.numpy()[n, :count].tolist()
            else:
                assert frames == count == 0 and not batch.features.numpy()[n].any()
    return found


def test_rows_are_the_same_whatever_the_threads_and_shards(corpus: Path) -> None:
    one = a_pipeline(corpus, threads=1)
    planned = one.plan(epoch=3)
    expected = by_row(list(one(planned, epoch=3)))
    assert sorted(expected) == list(range(24))
    for threads, count, static in ((4, 1, False), (1, 3, False), (2, 2, True)):
        pipeline = a_pipeline(corpus, threads=threads, static_shapes=static)
        assert all(np.array_equal(a, b) for a, b in zip(pipeline.plan(epoch=3), planned, strict=True))
        parts = [list(pipeline(planned, epoch=3, shard=(index, count))) for index in range(count)]
        assert len({len(part) for part in parts}) == 1
        assert {len({len(b.rows) for b in step}) for step in zip(*parts, strict=True)} == {1}
        assert by_row([batch for part in parts for batch in part]) == expected


def test_static_batches_have_the_shapes_that_were_told(corpus: Path) -> None:
    pipeline = a_pipeline(corpus, static_shapes=True)
    shapes = pipeline.shapes
    assert 1 <= len(shapes) <= 2 and shapes[0] == max(shapes, key=lambda shape: shape.rows * shape.frames)
    assert all(shape.frames % 8 == shape.labels % 8 == 0 for shape in shapes)
    for epoch in range(2):
        batches = list(pipeline(pipeline.plan(epoch), epoch=epoch))
        found = {(*batch.features.shape[:2], batch.labels.shape[1]) for batch in batches}
        assert found <= {tuple(shape) for shape in shapes}
        assert sorted(by_row(batches)) == list(range(24))


def test_batches_that_are_not_static_are_within_the_largest_shape(corpus: Path) -> None:
    pipeline = a_pipeline(corpus)
    for batch in pipeline(pipeline.plan(1), epoch=1):
        rows, frames, labels = len(batch.rows), *batch.features.shape[1:2], batch.labels.shape[1]
        assert any(rows <= s.rows and frames <= s.frames and labels <= s.labels for s in pipeline.shapes)


def test_the_plan_bounds_seconds_at_the_speed_that_is_played(corpus: Path) -> None:
    pipeline = a_pipeline(corpus)
    durations = pipeline.durations(2)
    assert (durations != pipeline.seconds).any()
    for rows in pipeline.plan(2):
        assert len(rows) == 1 or durations[rows].max() * len(rows) <= 12


def test_bad_utterances_are_left_out_and_listed(corpus: Path, tmp_path: Path) -> None:
    reader, utterances = a_reader(corpus)
    (tmp_path / "empty.flac").write_bytes(b"")
    broken = [dataclasses.replace(utterances[n], audio=tmp_path / name) for n, name in ((3, "empty.flac"), (9, "gone"))]
    mixed = [*utterances[:3], broken[0], *utterances[4:9], broken[1], *utterances[10:]]
    quarantine = Quarantine(tmp_path / "quarantine.tsv", most=2)
    whole, less = Pipeline(utterances, reader), Pipeline(mixed, reader, quarantine=quarantine)
    planned = less.plan()
    for _ in range(2):
        found = by_row(list(less(planned)))
        assert found == {row: one for row, one in by_row(list(whole(planned))).items() if row not in (3, 9)}
    assert {entry.id for entry in quarantine.entries} == {utterances[3].id, utterances[9].id}
    strict = Pipeline(mixed, reader, quarantine=Quarantine(most=1))
    with pytest.raises(UserError, match="data.max_bad allows 1"):
        list(strict(planned))


def test_a_duration_that_is_wrong_is_told_where_shapes_are_fixed(corpus: Path) -> None:
    pipeline = a_pipeline(corpus, static_shapes=True)
    wrong = [dataclasses.replace(u, seconds=0.3) for u in pipeline.utterances]
    pipeline = Pipeline(wrong, pipeline.reader, data=pipeline.data)
    with pytest.raises(UserError, match=r"frames, more than its 0.3 s have; correct its duration"):
        list(pipeline(pipeline.plan()))


def test_a_batch_of_bad_utterances_alone_still_is_a_batch(tmp_path: Path, corpus: Path) -> None:
    reader, _ = a_reader(corpus)
    gone = Utterance(id="a", audio=tmp_path / "gone.flac", text="one", seconds=1.0)
    (batch,) = Pipeline([gone], reader, quarantine=Quarantine(most=1))([np.array([0], np.int32)])
    assert batch.rows.numpy().tolist() == [-1] and batch.features.shape == (1, 1, 23) and batch.labels.shape == (1, 1)


def test_the_meter_counts_padding_and_waiting(corpus: Path) -> None:
    reader, utterances = a_reader(corpus)
    meter = Meter()
    pipeline = Pipeline(utterances, reader, meter=meter, data=DataConfig(batch_seconds=12))
    planned, real, padded = pipeline.plan(), 0, 0
    for batch in meter.watch(pipeline(planned)):
        real += int(np.sum(batch.feature_lengths))
        padded += batch.features.shape[0] * batch.features.shape[1]
        time.sleep(0.01)
    supply = meter.take()
    assert supply.batches == len(planned) and supply.utterances == 24
    assert supply.padding == pytest.approx(1 - real / padded)
    assert 0 < supply.wait <= supply.elapsed and supply.reading > 0 and supply.wait_share < 1
    assert supply.elapsed >= supply.wait + 0.01 * len(planned)
    empty = meter.take()
    assert empty.batches == empty.padding == empty.wait == empty.wait_share == 0
