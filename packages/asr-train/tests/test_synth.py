import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.fft import dct

import asr_features
from asr_train.corpora import synth
from asr_train.corpora.synth import ACCENTS, DIGITS, MEN, WOMEN, Voice, synthesize, voices, write_corpus
from asr_train.errors import UserError
from asr_train.manifest import measure, read_manifest

pytest.importorskip("espeakng_loader")

ONE_TO_THREE = "one two three"


def fundamental(samples: np.ndarray) -> float:
    """The median fundamental frequency, in Hz, of samples at 16 kHz: the peak of the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::320]
    energy = np.square(frames).sum(1)
    spectra = np.fft.rfft(frames[energy > 0.1 * energy.max()], 2048)
    correlation = np.fft.irfft(np.abs(spectra) ** 2)[:, 16000 // 400 : 16000 // 50]
    return float(np.median(16000 / (correlation.argmax(1) + 16000 // 400)))


def cepstra(words: tuple[str, ...], voice: Voice) -> list[np.ndarray]:
    """Mel cepstra `(T, 12)` of each word, normalised over all words of the speaker."""
    log_mel = asr_features.presets.KALDI_80
    found = [dct(log_mel(synthesize(word, voice)), norm="ortho")[:, 1:13] for word in words]
    together = np.concatenate(found)
    return [(one - together.mean(0)) / together.std(0) for one in found]


def warped(a: np.ndarray, b: np.ndarray) -> float:
    """The mean distance of two sequences by dynamic time warping."""
    near = np.sqrt(np.square(a[:, None] - b).sum(-1))
    total = np.full((len(a) + 1, len(b) + 1), np.inf)
    total[0, 0] = 0
    for s in range(2, len(a) + len(b) + 1):  # along the diagonals
        i = np.arange(max(1, s - len(b)), min(len(a), s - 1) + 1)
        j = s - i
        best = np.minimum(np.minimum(total[i - 1, j - 1], total[i - 1, j]), total[i, j - 1])
        total[i, j] = near[i - 1, j - 1] + best
    return float(total[-1, -1] / (len(a) + len(b)))


def failure(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("language", ["en-us", "ko"])
def test_every_variant_sounds(language):
    # They differ in timbre and tempo, but each of them says all the words, and none is clipped.
    text = " ".join(DIGITS[language[:2]])
    for variant in MEN + WOMEN:
        samples = synthesize(text, Voice(language=language, variant=variant, pitch=65))
        assert samples.dtype == np.float32 and samples.ndim == 1
        assert 0.05 < np.abs(samples).max() < 0.97, variant
        assert 0.01 < np.sqrt(np.mean(np.square(samples))) < 0.3, variant
        assert 1.4 < len(samples) / 16000 < 4, variant


def test_every_accent_is_another():
    spoken = [synthesize(ONE_TO_THREE, voice) for voice in voices("en", ["m1"])]
    assert len(spoken) == len(ACCENTS["en"]) == len({samples.tobytes() for samples in spoken})


@pytest.mark.parametrize("language", ["en-us", "ko"])
def test_digits_are_told_apart(language):
    words = DIGITS[language[:2]]
    references = [cepstra(words, Voice(language=language, variant=name)) for name in ("m1", "f2")]
    for place, word in enumerate(cepstra(words, Voice(language=language, variant="max"))):
        scores = [np.mean([warped(word, reference[n]) for reference in references]) for n in range(10)]
        assert np.argmin(scores) == place, words[place]


def test_women_speak_higher_and_settings_matter():
    man, woman = Voice(variant="m3"), Voice(variant="f2")
    plain = synthesize(ONE_TO_THREE, man)
    assert 70 < fundamental(plain) < 140 < 160 < fundamental(synthesize(ONE_TO_THREE, woman)) < 280
    assert fundamental(synthesize(ONE_TO_THREE, Voice(variant="m3", pitch=80))) > 1.2 * fundamental(plain)
    assert len(synthesize(ONE_TO_THREE, Voice(variant="m3", rate=100))) > 1.4 * len(plain)
    gaps = len(synthesize(ONE_TO_THREE, Voice(variant="m3", gap=20))) - len(plain)
    assert gaps / 16000 == pytest.approx(2 * 20 * 0.017, abs=0.1)


def test_equal_arguments_give_equal_samples():
    # In spite of the state that eSpeak NG keeps: of flutter, of breath (f5, grandma), of roughness.
    chosen = [Voice(variant=variant) for variant in ("m3", "f5", "grandma", "Tweaky")]
    first = [synthesize("five two", voice) for voice in chosen]
    synthesize("뭔가 다른 것", Voice(language="ko", pitch=9))
    again = [synthesize("five two", voice) for voice in reversed(chosen)]
    assert all(np.array_equal(a, b) for a, b in zip(first, reversed(again), strict=True))


def test_threads_take_turns():
    chosen = [Voice(variant=variant) for variant in ("m1", "f1", "max", "linda")] * 3
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda voice: synthesize("seven", voice), chosen))
    alone = [synthesize("seven", voice) for voice in chosen]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_sample_rate():
    narrow, wide = (synthesize(ONE_TO_THREE, Voice(), sample_rate=rate) for rate in (8000, 16000))
    assert len(wide) == pytest.approx(2 * len(narrow), abs=2)
    assert np.abs(asr_features.resample(wide, 16000, 8000) - narrow)[100:-100].max() < 0.05


def test_no_more_silence_than_needed():
    loud = np.flatnonzero(np.abs(synthesize(ONE_TO_THREE, Voice())) > 0.01)
    assert loud[0] < 0.1 * 16000
    assert len(synthesize(ONE_TO_THREE, Voice())) - loud[-1] < 0.1 * 16000


def test_a_corpus(tmp_path):
    manifests = write_corpus(tmp_path / "c", train=60, dev=12, test=12)
    assert manifests == {name: tmp_path / "c" / f"{name}.tsv" for name in ("train", "dev", "test")}
    splits = {name: read_manifest(path) for name, path in manifests.items()}
    assert [len(split) for split in splits.values()] == [60, 12, 12]
    variants = [{utterance.speaker.split("+")[1] for utterance in split} for split in splits.values()]
    assert sum(map(len, variants)) == len(set.union(*variants))  # nobody is in two splits
    texts = [utterance.text.split() for split in splits.values() for utterance in split]
    assert {len(words) for words in texts} == {1, 2, 3, 4, 5}
    assert {word for words in texts for word in words} == set(DIGITS["en"])
    for utterance in measure(splits["train"] + splits["dev"]):
        info = soundfile.info(utterance.audio)
        assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16000, 1)
        assert utterance.seconds == info.frames / 16000
        samples, _ = soundfile.read(utterance.audio)
        silence, peak = samples[:1600], np.abs(samples).max()
        assert 0.1 < peak < 0.95
        assert 0 < silence.std() < 0.2 * samples.std()  # quiet, not digitally dead


def test_same_seed_same_bytes(tmp_path):
    for name, options in {"a": {}, "b": {}, "c": {"train": 9}, "d": {"seed": 2}}.items():
        write_corpus(tmp_path / name, **({"language": "ko", "train": 4, "dev": 3, "test": 2} | options))
    first, same, larger, other = (files(tmp_path / name) for name in "abcd")
    assert first == same and len(first) == 4 + 3 + 2 + 3
    assert all(larger[name] == first[name] for name in first if name != "train.tsv")
    assert not set(other.values()) & set(first.values())


def test_texts_are_dealt_out(tmp_path):
    texts = [f"sentence\tnumber {n}" for n in range(9)]
    manifests = write_corpus(tmp_path, train=5, dev=2, test=2, texts=texts, sample_rate=8000)
    said = [[utterance.text for utterance in read_manifest(path)] for path in manifests.values()]
    assert sorted(itertools.chain(*said)) == [f"sentence number {n}" for n in range(9)]
    again = write_corpus(tmp_path / "more", train=4, dev=0, test=0, texts=["one", "two"])
    assert list(again) == ["train"]
    assert sorted(u.text for u in read_manifest(again["train"])) == ["one", "one", "two", "two"]


def test_no_manifest_of_half_a_corpus(tmp_path, monkeypatch):
    def interrupted(text, voice, *, sample_rate):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(synth, "synthesize", interrupted)
        write_corpus(tmp_path, train=2, dev=1, test=1)
    assert not list(tmp_path.glob("*.tsv"))
    write_corpus(tmp_path, train=2, dev=1, test=1)
    assert "train.tsv already" in failure(write_corpus, tmp_path, train=2)


def test_what_is_wrong(tmp_path, monkeypatch):
    assert "en, ko" in failure(voices, "fr")
    assert "en, ko" in failure(write_corpus, tmp_path, language="de")
    assert "dev" in failure(write_corpus, tmp_path, dev=-1)
    assert "seed" in failure(write_corpus, tmp_path, seed=-1)
    for wrong in ([], ["a", " "], "a single string"):
        assert "texts" in failure(write_corpus, tmp_path, texts=wrong)
    (tmp_path / "file").touch()
    assert "folder" in failure(write_corpus, tmp_path / "file")
    for wrong in ({"pitch": 100}, {"range": -1}, {"rate": 79}, {"gap": 1.5}):
        assert next(iter(wrong)) in failure(Voice, **wrong)
    message = failure(synthesize, "one", Voice(variant="tenor"))
    assert "'tenor'" in message and "Alex" in message
    assert "'xx'" in failure(synthesize, "one", Voice(language="xx"))
    assert "nothing to say" in failure(synthesize, "", Voice())
    assert np.array_equal(synthesize("one\0two", Voice()), synthesize("one two", Voice()))
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    assert "pip install 'asr-train[synth]'" in failure(synthesize, "one", Voice())
