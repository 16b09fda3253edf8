"""What is done to an utterance, where it is kept, and what becomes of one that is bad."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_features import POLICIES, PRESETS, UtteranceNorm
from asr_train.cache import DiskStore, MemoryStore, Store, Variant, check_memory
from asr_train.config import AugmentConfig, NoiseConfig
from asr_train.errors import UserError
from asr_train.manifest import Utterance, measure, read_manifest, write_manifest
from asr_train.noise import Noise, load_noise, pink
from asr_train.quarantine import BadUtteranceError, Quarantine
from asr_train.reader import Reader, stretched
from asr_train.tokenizer import Tokenizer

FRONTEND = dataclasses.replace(PRESETS["kaldi-23"], sample_rate=8000)
SPEEDS = AugmentConfig(speed=(0.9, 1.0, 1.1), spec_augment=POLICIES["LD"])


@pytest.fixture(scope="module")
def utterances(corpus: Path) -> list[Utterance]:
    return measure(read_manifest(corpus / "train.tsv"))


@pytest.fixture(scope="module")
def plain(utterances: list[Utterance]) -> Reader:
    tokenizer = Tokenizer.train([u.text for u in utterances], kind="char")
    return Reader(frontend=FRONTEND, normalize=UtteranceNorm(), tokenizer=tokenizer, seed=3)


def test_speed_is_what_the_plan_was_told(plain: Reader, utterances: list[Utterance]) -> None:
    reader = dataclasses.replace(plain, augment=AugmentConfig(speed=(0.5, 1.0, 2.0)))
    rows = np.arange(len(utterances), dtype=np.int32)
    for epoch in (0, 1):
        speeds = reader.speeds(rows, epoch)
        assert len(set(speeds.tolist())) == 3
        for row, speed in zip(rows[:6].tolist(), speeds, strict=False):
            frames = len(reader(utterances[row], row, epoch)[0])
            seconds = (utterances[row].seconds or 0.0) / speed
            assert reader.frames(seconds) - 4 <= frames <= reader.frames(seconds)


def test_pitch_moves_a_tone_and_keeps_the_frames(plain: Reader, tmp_path: Path) -> None:
    """A sine of 600 Hz at pitch 1.25 is one of 750 Hz."""
    seconds = np.arange(8000) / 8000
    for name, hertz in (("low", 600), ("high", 750)):
        soundfile.write(tmp_path / f"{name}.wav", 0.3 * np.sin(2 * np.pi * hertz * seconds), 8000)
    low, high = (Utterance(id=n, audio=tmp_path / f"{n}.wav", text="", seconds=1.0) for n in ("low", "high"))
    reader = dataclasses.replace(plain, normalize=None)
    raised, expected = reader.variants(low, [Variant(pitch=1.25)])[0], reader.variants(high, [Variant()])[0]
    assert raised.shape == expected.shape
    middle = slice(10, -10)
    assert np.abs(raised[middle] - expected[middle]).max(axis=0)[expected[50] > expected[50].max() - 6].max() < 0.1
    assert raised[50].argmax() == expected[50].argmax() != reader.variants(low, [Variant()])[0][50].argmax()


def test_stretched_is_linear_and_keeps_the_ends() -> None:
    line = np.linspace(0, 9, 10, dtype=np.float32)[:, None]
    for frames in (4, 10, 28):
        assert np.allclose(stretched(line, frames)[:, 0], np.linspace(0, 9, frames), atol=1e-5)
    assert stretched(line[:1], 3).tolist() == [[0], [0], [0]] and len(stretched(line[:0], 0)) == 0


def test_noise_has_its_ratio_and_its_colour() -> None:
    rng, speech = np.random.default_rng(0), np.random.default_rng(1).standard_normal(40_000).astype(np.float32) * 0.1
    noise = Noise(config=NoiseConfig(snr=(10, 10)), sample_rate=8000)
    for _ in range(4):
        added = noise(speech, rng) - speech
        assert 10 * np.log10(np.mean(speech**2) / np.mean(added**2)) == pytest.approx(10, abs=0.01)
    power = np.abs(np.fft.rfft(pink(np.random.default_rng(2).standard_normal(2**18).astype(np.float32)))) ** 2
    octaves = [power[2**n : 2 ** (n + 1)].mean() for n in range(11, 17)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx(-3.01, abs=0.3)


def test_recorded_noise_is_a_stretch_of_a_file(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 500 * np.arange(80_000) / 8000)
    soundfile.write(tmp_path / "tone.flac", tone, 8000)
    write_manifest(tmp_path / "noise.tsv", [Utterance(id="t", audio=tmp_path / "tone.flac", text="")])
    noise = load_noise(NoiseConfig(files=(tmp_path / "noise.tsv",), snr=(0, 0)), 8000)
    assert noise is not None and load_noise(None, 8000) is None
    speech = np.random.default_rng(1).standard_normal(8000).astype(np.float32) * 0.1
    added = [noise(speech, np.random.default_rng(seed)) - speech for seed in (0, 0, 1)]
    assert np.array_equal(added[0], added[1]) and not np.array_equal(added[0], added[2])
    spectrum = np.abs(np.fft.rfft(added[0]))
    assert spectrum.argmax() == 500 and spectrum[500] > 100 * np.median(spectrum)
    (tmp_path / "tone.flac").write_bytes(b"fLaC")
    with pytest.raises(UserError, match=r"augment.noise: .*noise.tsv:2: "):
        noise(speech, np.random.default_rng(0))
    (tmp_path / "tone.flac").unlink()
    with pytest.raises(UserError, match="no such audio file"):
        load_noise(noise.config, 8000)


def test_noise_and_gain_fall_to_their_share(plain: Reader, utterances: list[Utterance]) -> None:
    config = NoiseConfig(probability=0.3)
    noise = Noise(config=config, sample_rate=8000)
    reader = dataclasses.replace(plain, augment=AugmentConfig(noise=config), noise=noise, normalize=None)
    clean = dataclasses.replace(plain, normalize=None)
    same = [np.array_equal(reader(utterances[0], n, 0)[0], clean(utterances[0], n, 0)[0]) for n in range(60)]
    assert 30 < sum(same) < 54
    louder = dataclasses.replace(plain, augment=AugmentConfig(gain=(6, 6)), normalize=None)
    change = louder(utterances[0], 0, 0)[0] - clean(utterances[0], 0, 0)[0]
    assert np.median(change) == pytest.approx(6 * np.log(10) / 10, abs=0.01)  # natural logarithm of a power


@pytest.mark.parametrize("make", [lambda _: MemoryStore(), lambda folder: DiskStore(folder, FRONTEND)])
def test_stores_give_the_same_bits_and_read_the_audio_once(
    make: Callable[[Path], Store], plain: Reader, utterances: list[Utterance], tmp_path: Path
) -> None:
    fresh = dataclasses.replace(plain, augment=SPEEDS)
    kept = dataclasses.replace(fresh, store=make(tmp_path))
    for epoch in range(6):
        for row in range(3):
            expected, found = fresh(utterances[row], row, epoch), kept(utterances[row], row, epoch)
            assert np.array_equal(expected[0], found[0]) and np.array_equal(expected[1], found[1])

    def never() -> np.ndarray:
        raise AssertionError

    assert kept.store is not None
    for row in range(3):
        for speed in {kept.variant(row, epoch) for epoch in range(6)}:
            assert kept.store(utterances[row], speed, never).shape[1] == FRONTEND.dim


def test_the_disk_store_knows_what_its_content_depends_on(utterances: list[Utterance], tmp_path: Path) -> None:
    audio = tmp_path / "a.flac"
    audio.write_bytes(utterances[0].audio.read_bytes())
    one = dataclasses.replace(utterances[0], audio=audio)
    store = DiskStore(tmp_path / "cache", FRONTEND)
    paths = {store.path(one, Variant()), store.path(one, Variant(speed=0.9)), store.path(one, Variant(pitch=0.9))}
    paths.add(DiskStore(tmp_path / "cache", FRONTEND, cut=1.0).path(one, Variant()))
    paths.add(DiskStore(tmp_path / "cache", PRESETS["kaldi-40"]).path(one, Variant()))
    audio.write_bytes(utterances[1].audio.read_bytes())
    paths.add(store.path(one, Variant()))
    assert len(paths) == 6


def test_a_damaged_file_of_the_disk_store_is_replaced(utterances: list[Utterance], tmp_path: Path) -> None:
    store, features = DiskStore(tmp_path, FRONTEND), np.ones((4, 23), np.float32)
    store(utterances[0], Variant(), lambda: features)
    path = store.path(utterances[0], Variant())
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[:-1] + b"\1", bytes(len(whole))):
        path.write_bytes(content)
        assert np.array_equal(store(utterances[0], Variant(), lambda: features), features)
        assert path.read_bytes() == whole


def test_noisy_features_are_not_kept(plain: Reader, utterances: list[Utterance]) -> None:
    config, store = NoiseConfig(probability=1.0), MemoryStore()
    noise = Noise(config=config, sample_rate=8000)
    reader = dataclasses.replace(plain, augment=AugmentConfig(noise=config), noise=noise, store=store)
    reader(utterances[0], 0, 0)
    assert not store.kept


def test_a_cache_too_large_for_the_memory_is_refused() -> None:
    check_memory(3600, 3, FRONTEND)
    with pytest.raises(UserError, match=r"data.cache is memory: the features of 1000000 hours in 3 variants need"):
        check_memory(3.6e9, 3, FRONTEND)


def bad_files(folder: Path, good: Path) -> dict[str, Path]:
    """Files that are no utterance, by what is wrong with them."""
    content = good.read_bytes()
    files = {
        "empty": b"",
        "not audio": b"This is text.",
        "cut short": content[: len(content) // 2],
        "corrupt": content[:300] + bytes(range(256)) * 4 + content[1324:],
    }
    for name, part in files.items():
        (folder / f"{name}.flac").write_bytes(part)
    soundfile.write(folder / "no samples.wav", np.zeros(0), 8000)
    soundfile.write(folder / "nan.wav", np.full(8000, np.nan, np.float32), 8000, subtype="FLOAT")
    soundfile.write(folder / "short.wav", np.zeros(50), 8000)
    return {path.stem: path for path in sorted(folder.iterdir())} | {"missing": folder / "missing.flac"}


def test_every_bad_file_is_told_in_one_line(plain: Reader, utterances: list[Utterance], tmp_path: Path) -> None:
    files = bad_files(tmp_path, utterances[0].audio)
    assert len(files) == 8
    for name, path in files.items():
        bad = Utterance(id=name, audio=path, text="one", seconds=1.0, row="train.tsv:7")
        for store in (None, DiskStore(tmp_path / "cache", FRONTEND)):
            with pytest.raises(BadUtteranceError) as found:
                dataclasses.replace(plain, store=store)(bad, 0, 0)
            assert str(found.value).startswith("train.tsv:7: ") and "\n" not in str(found.value)
            assert path.name in found.value.reason and not found.value.reason.startswith("train.tsv")


def test_a_quarantine_lists_each_once_and_not_too_many(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.tsv"
    bad = [
        BadUtteranceError(Utterance(id=f"u{n}", audio=Path(f"{n}.flac"), text="", row=f"t.tsv:{n}"), "no\tgood\n")
        for n in range(3)
    ]
    first = Quarantine(path, most=2)
    for one in (bad[0], bad[0], bad[1]):
        first.add(one)
    assert path.read_text() == "Id\tRow\tFilePath\tReason\nu0\tt.tsv:0\t0.flac\tno good\nu1\tt.tsv:1\t1.flac\tno good\n"
    again = Quarantine(path, most=2)
    assert again.entries == first.entries
    again.add(bad[1])
    with pytest.raises(UserError, match=r"t.tsv:2: .*3 utterances are bad, all are in .*data.max_bad allows 2"):
        again.add(bad[2])
    path.write_text("something else\n")
    with pytest.raises(UserError, match="not a list of bad utterances"):
        Quarantine(path)
