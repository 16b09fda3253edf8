"""The experiments of tools/."""

import importlib.util
import itertools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from asr_train.errors import UserError
from asr_train.manifest import Utterance, read_audio, read_manifest, survey

TOOLS = Path(__file__).resolve().parents[1] / "tools"
RATE = 8000
FRAME = 800  # 10 Hz a bin
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


bad_files, unheard_speaker = load("bad_files"), load("unheard_speaker")
Take = tuple[int, str, int]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Take]]:
    """Recordings, each of them a tone of its own, and the recording of every tone."""
    folder = tmp_path_factory.mktemp("recordings")
    known: dict[int, Take] = {}
    for tone, take in enumerate(itertools.product(range(10), ("ann", "bob", "cy"), range(9)), 20):
        digit, speaker, number = known[tone] = take
        samples = 0.5 * np.sin(2 * np.pi * tone * np.arange(2 * FRAME) / FRAME)
        soundfile.write(folder / f"{digit}_{speaker}_{number}.flac", samples, RATE)
    return folder, known


def takes_in(utterance: Utterance, known: dict[int, Take]) -> list[Take]:
    """What a string was joined of, heard from its samples: stretches with all their power in one bin."""
    samples, rate = soundfile.read(utterance.audio)
    assert rate == RATE and len(samples) / rate == pytest.approx(utterance.seconds)
    found: list[int] = []
    last = -FRAME
    for start in range(0, len(samples) - FRAME + 1, 20):
        frame = samples[start : start + FRAME]
        power = np.abs(np.fft.rfft(frame)) ** 2
        if power.max() > 0.995 * power.sum() and np.abs(frame[:100]).max() > 0.05:
            tone = int(power.argmax())
            if not found or found[-1] != tone or start - last > 60:
                found.append(tone)
            last = start
    return [known[tone] for tone in found]


def test_no_take_and_no_speaker_is_where_it_must_not_be(
    tones: tuple[Path, dict[int, Take]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings, known = tones
    sizes = {"train": 40, "dev": 12, "heard": 12, "unheard": 30, "synth": 8}
    unheard_speaker.make_data(recordings, tmp_path, ["bob"], sizes, 1)
    assert f"{tmp_path / 'bob/unheard.tsv'}: 30 strings of 1 speakers" in capsys.readouterr().out
    used: dict[str, set[Take]] = {}
    for name in ("train", "dev", "heard", "unheard"):
        utterances = read_manifest(tmp_path / "bob" / f"{name}.tsv")
        assert len(utterances) == sizes[name]
        used[name] = set()
        for utterance in utterances:
            takes = takes_in(utterance, known)
            assert [WORDS[digit] for digit, _, _ in takes] == utterance.text.split()
            assert {speaker for _, speaker, _ in takes} == {utterance.speaker}
            used[name] |= set(takes)
    assert all(not a & b for a, b in itertools.combinations(used.values(), 2))
    assert {speaker for _, speaker, _ in used["train"] | used["dev"] | used["heard"]} == {"ann", "cy"}
    assert {speaker for _, speaker, _ in used["unheard"]} == {"bob"}
    assert {number for _, _, number in used["unheard"]} == set(range(9))
    made = read_manifest(tmp_path / "synth.tsv")
    assert len(made) == 8 and all(soundfile.info(u.audio).samplerate == RATE for u in made)


def test_equal_seeds_make_equal_data_and_what_is_there_is_kept(
    tones: tuple[Path, dict[int, Take]], tmp_path: Path
) -> None:
    sizes = {"train": 3, "dev": 2, "heard": 2, "unheard": 2, "synth": 0}
    for folder in ("a", "b"):
        unheard_speaker.make_data(tones[0], tmp_path / folder, ["ann", "cy"], sizes, 5)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert Counter(path.suffix for path in files) == {".tsv": 8, ".flac": 18}
    assert all((tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes() for path in files)
    (tmp_path / "a/ann/train.tsv").write_text("FilePath\tText\tSeconds\nx.flac\tone\t1\n")
    unheard_speaker.make_data(tones[0], tmp_path / "a", ["ann"], sizes, 5)
    assert [u.text for u in read_manifest(tmp_path / "a/ann/train.tsv")] == ["one"]


def test_synthesised_speakers_differ() -> None:
    takes = unheard_speaker.synthetic_takes(4, np.random.default_rng(1))
    assert len({name.rsplit("-", 1)[0] for name in takes}) == 4
    spoken = [samples for digits in takes.values() for (samples,) in digits]
    assert len(spoken) == 40 and all(0.1 * RATE < len(samples) < 1.5 * RATE for samples in spoken)
    assert len({samples.tobytes() for samples in spoken}) == 40


def test_runs_that_are_done_are_left_out_and_the_table_holds_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob/unheard.tsv").touch()
    commands: list[Sequence[str]] = []

    def asr_train(arguments: Sequence[str], *, listen: bool = False) -> str:
        commands.append(arguments)
        if arguments[0] == "evaluate":
            greedy = 0.25 if "unheard" in arguments[2] else 0.01
            return json.dumps({"wer": {"rate": greedy / 5 if "--beam-size" in arguments else greedy}})
        log = Path(arguments[arguments.index("--output") + 1]) / "train.log"
        log.parent.mkdir(exist_ok=True)
        events = [{"event": "epoch", "epoch": n, "seconds": 90.0 * n} for n in (1, 2)]
        log.write_text("".join(json.dumps(event) + "\n" for event in events))
        return ""

    monkeypatch.setattr(unheard_speaker, "asr_train", asr_train)
    called = ["unheard_speaker", "run", str(tmp_path), "--families", "las", "--epochs", "2", "--conditions"]
    for conditions, trained in ((["none"], 1), (["none", "all"], 1), (["all"], 0)):
        commands.clear()
        monkeypatch.setattr(sys, "argv", [*called, *conditions])
        unheard_speaker.main()
        assert [command[0] for command in commands] == ["train", *["evaluate"] * 4] * trained
        if trained:
            manifests = [one for flag, one in itertools.pairwise(commands[0]) if flag == "--train"]
            synth = [str(tmp_path / "synth.tsv")] if "all" in conditions else []
            assert manifests == [str(tmp_path / "bob/train.tsv"), *synth]
            assert "train.epochs=2" in commands[0] and "digits-las" in commands[0]
    rows = [
        f"| bob | {told} | las | {rates} | 2 | 3 |"
        for told in ("none", "all of these")
        for rates in ("greedy | 1.00% | 25.00%", "beam | 0.20% | 5.00%")
    ]
    assert (tmp_path / "table.md").read_text().splitlines()[2:] == rows
    assert capsys.readouterr().out.endswith("\n".join(rows) + "\n")
    commands.clear()
    monkeypatch.setattr(sys, "argv", [*called, "noise", "--after", "none"])
    unheard_speaker.main()
    first = f"train.init_from={tmp_path / 'bob/runs/las-none/run/model'}"
    assert first in commands[0] and str(tmp_path / "bob/runs/las-none-then-noise/run") in commands[0]
    more = "| bob | none, then noise | las | greedy | 1.00% | 25.00% | 2 | 3 |"
    assert (tmp_path / "table.md").read_text().splitlines()[2:7] == [*rows, more]


@pytest.mark.parametrize("family", unheard_speaker.FAMILIES)
@pytest.mark.parametrize("condition", unheard_speaker.CONDITIONS)
def test_the_conditions_are_ones_that_a_configuration_takes(family: str, condition: str) -> None:
    from asr_train import recipes
    from asr_train.config_file import read_config

    plain = read_config(recipes.find(f"digits-{family}"))
    changed = read_config(recipes.find(f"digits-{family}"), unheard_speaker.CONDITIONS[condition])
    assert (changed.augment == plain.augment) == (condition == "recipe")
    assert (changed.data == plain.data) == (condition != "global")
    assert changed.model == plain.model


def test_conditions_differ() -> None:
    given = [(*changes, name in unheard_speaker.SYNTHESISED) for name, changes in unheard_speaker.CONDITIONS.items()]
    assert len(set(given)) == len(given) and unheard_speaker.TOLD.keys() == unheard_speaker.CONDITIONS.keys()


def test_a_share_of_the_files_is_broken_in_every_way(corpus: Path, tmp_path: Path) -> None:
    utterances = read_manifest(corpus / "train.tsv")
    before = {u.audio: u.audio.read_bytes() for u in utterances}
    spoilt, broken = bad_files.break_some(utterances, tmp_path, share=0.25, longest=20.0, seed=3)
    assert [u.id for u in spoilt] == [u.id for u in utterances] and all(u.seconds for u in spoilt)
    assert {u.id for u in spoilt if u.audio.parent == tmp_path} == set(broken) and len(broken) == 6
    assert list(broken.values()) == ["cut_short", "missing", "empty", "no_audio", "too_short", "not_finite"]
    assert {u.audio: u.audio.read_bytes() for u in utterances} == before
    there, found = survey(spoilt)
    assert {broken[u.id] for u, _ in found} == {"missing", "empty"}
    bad = set()
    for utterance in there:
        try:
            if len(read_audio(utterance, RATE)) < 200:  # of a frame
                bad.add(utterance.id)
        except UserError:
            bad.add(utterance.id)
    assert bad == {one for one, kind in broken.items() if kind not in ("missing", "empty")}
    least = bad_files.break_some(utterances, tmp_path / "few", share=0.01, longest=20.0, seed=3)[1]
    assert list(least.items()) == list(broken.items())[:3]


def test_what_broken_files_did_to_a_run_is_told(tmp_path: Path) -> None:
    broken = {"a": "missing", "b": "empty", "c": "cut_short"}
    assert bad_files.listed(tmp_path / "quarantine.tsv") == {}
    rows = "".join(f"{name}\ttrain.tsv:2\tx.flac\tno such file\n" for name in ("a", "b", "d"))
    (tmp_path / "quarantine.tsv").write_text("Id\tRow\tFilePath\tReason\n" + rows)
    found = bad_files.listed(tmp_path / "quarantine.tsv")
    result = bad_files.compare(broken, found, 0.02, 0.021)
    assert result["not_found"] == {"c": "cut_short"} and result["wrongly_listed"] == {"d": "no such file"}
    assert not result["passed"]
    whole = dict.fromkeys(broken, "no such file")
    assert bad_files.compare(broken, whole, 0.02, 0.0245)["passed"]
    assert not bad_files.compare(broken, whole, 0.02, 0.0255)["passed"]
