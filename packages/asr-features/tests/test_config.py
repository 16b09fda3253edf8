"""Configurations as JSON: what is written is read, and what was changed is named."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_features.augment import POLICIES, SpecAugment
from asr_features.chain import Chain
from asr_features.config import KINDS, _tag, content_hash, from_json, to_json
from asr_features.deltas import Deltas
from asr_features.frontends import LogMel, Mfcc
from asr_features.normalize import GlobalNorm, RunningNorm, UtteranceNorm
from asr_features.presets import KALDI_23, KALDI_80, PRESETS
from asr_features.resampling import Resample

PRIOR = GlobalNorm(mean=(0.1, -1 / 3, 1e300), std=(1, 2.5, 1e-30))
MFCC = Mfcc(mel=replace(KALDI_23, low_hz=60), num_ceps=12)
OTHERS = {
    "deltas": Deltas(order=1, rule="difference"),
    "utterance": UtteranceNorm(ddof=1, divide="sum"),
    "global": PRIOR,
    "running": RunningNorm(window=300, prior=PRIOR),
    "plain": UtteranceNorm(),
    "spec": SpecAugment(time_width=20, time_ratio=0.3),
    "resample": Resample(source_rate=44100, target_rate=16000),
    "chain": Chain(MFCC, Deltas(), RunningNorm(window=200)),
    "nested": Chain(Chain(KALDI_80, Deltas(window=3)), UtteranceNorm()),
    "alone": Chain(KALDI_80),
}
ALL = {**PRESETS, **POLICIES, **OTHERS}


@pytest.mark.parametrize("name", ALL)
def test_what_is_written_is_read(name):
    config = ALL[name]
    text = to_json(config)
    assert from_json(text) == config
    assert type(from_json(text)) is type(config)
    assert to_json(from_json(text)) == text
    values = json.loads(text)
    assert values["kind"] == type(config).__name__
    assert values["hash"] == content_hash(config)
    assert set(values) == {"kind", "hash", *(field.name for field in dataclasses.fields(config))}
    assert from_json(text, expect=config) == from_json(text, expect=content_hash(config)) == config


def test_every_kind_is_tried():
    assert {type(config).__name__ for config in ALL.values()} == set(KINDS)
    for kind in KINDS.values():
        names = [field.name for field in dataclasses.fields(kind)]
        assert not {"kind", "hash"} & set(names)
        assert all(field.default_factory is dataclasses.MISSING for field in dataclasses.fields(kind))
        assert len({_tag(name) for name in names}) == len(names), f"{kind}: two names of one tag: rename one"


def test_different_configurations_have_different_hashes():
    hashes = {content_hash(config): config for config in ALL.values()}
    assert len(hashes) == len(set(ALL.values()))


def test_the_hash_is_as_it_is_described():
    group = hashlib.sha256(b"input_scale").hexdigest()[:3] + hashlib.sha256(b"input_scale=32768.0").hexdigest()[:6]
    assert content_hash(KALDI_80) == f"LogMel-{group}"
    assert content_hash(UtteranceNorm()) == "UtteranceNorm"
    groups = content_hash(replace(KALDI_80, window="hann", high_hz=7600)).split("-")
    assert hashlib.sha256(b'window="hann"').hexdigest()[:6] == groups[3][3:]
    assert hashlib.sha256(b"high_hz=7600.0").hexdigest()[:6] == groups[1][3:]


def test_equal_configurations_have_equal_hashes():
    numbers = [replace(KALDI_80, low_hz=value, log_floor=1) for value in (0, 0.0, -0.0)]
    assert len(set(numbers)) == len({content_hash(config) for config in numbers}) == 1
    assert content_hash(GlobalNorm(mean=[1], std=[2])) == content_hash(GlobalNorm(mean=(1.0,), std=(2.0,)))
    assert content_hash(Chain(KALDI_80, Deltas())) == content_hash(Chain(KALDI_80, stages=(Deltas(),)))


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_any_other_number_is_another_hash(a, b):
    one, other = UtteranceNorm(epsilon=a + 1e-9), UtteranceNorm(epsilon=b + 1e-9)
    assert (one == other) == (content_hash(one) == content_hash(other))
    assert from_json(to_json(one)) == one


def test_a_field_that_is_added_later_changes_no_hash(monkeypatch):
    written, hashed = to_json(KALDI_80), content_hash(KALDI_80)
    extra = [("extra", int, dataclasses.field(default=0))]
    later = dataclasses.make_dataclass("LogMel", extra, bases=(LogMel,), frozen=True, kw_only=True)
    newer = later(**dataclasses.asdict(KALDI_80))
    with monkeypatch.context() as patch:
        patch.setitem(KINDS, "LogMel", later)
        assert content_hash(newer) == hashed != content_hash(replace(newer, extra=1))
        assert from_json(written) == newer
        rewritten, rehashed = to_json(replace(newer, extra=1)), content_hash(replace(newer, extra=1))
    with pytest.raises(ValueError, match="LogMel has no field 'extra'; it has input_scale"):
        from_json(rewritten)
    with pytest.raises(ValueError, match="1 groups of the hash are of fields that this version does not have"):
        from_json(written, expect=rehashed)


def test_the_presets_are_what_they_were():
    """A preset that must change gets a new name: models were trained with the old one.

    Made by `for name, config in PRESETS.items(): print(name, content_hash(config))`.
    """
    stored = (Path(__file__).parent / "data" / "preset_hashes.txt").read_text("utf-8")
    assert {name: content_hash(config) for name, config in PRESETS.items()} == dict(map(str.split, stored.splitlines()))


def test_the_hash_does_not_depend_on_the_process():
    code = "from asr_features import config, presets; print(config.content_hash(presets.LIBROSA_80))"
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        assert done.stdout.strip() == content_hash(PRESETS["librosa-80"]), done.stderr


def edited(config, **changes):
    return json.dumps({**json.loads(to_json(config)), **changes})


def test_edited_fields_are_named():
    with pytest.raises(ValueError, match=r"num_mels is 40, expected 80; remove the hash if the change is meant$"):
        from_json(edited(KALDI_80, num_mels=40))
    with pytest.raises(ValueError, match=r"num_mels is 80, expected another value; window is 'hann', expected 'povey'"):
        from_json(edited(KALDI_23, num_mels=80, window="hann"))
    with pytest.raises(
        ValueError, match="LogMel: not what its hash was made of: input_scale is 1, expected another value;"
    ):
        from_json(edited(KALDI_80, input_scale=1))
    mel = {**json.loads(to_json(MFCC))["mel"], "low_hz": 20.0, "high_hz": 7000.0}
    with pytest.raises(
        ValueError, match=r"mel.low_hz is 20.0, expected another value; mel.high_hz is 7000.0, expected None"
    ):
        from_json(edited(MFCC, mel=mel))
    with pytest.raises(ValueError, match="UtteranceNorm: not what .*: kind is UtteranceNorm, expected Deltas"):
        from_json(edited(UtteranceNorm(), hash="Deltas-123456789"))
    values = json.loads(to_json(KALDI_23))
    del values["num_mels"]
    with pytest.raises(ValueError, match="num_mels is 80, expected another value"):
        from_json(json.dumps(values))


def test_an_edited_chain():
    chain = Chain(KALDI_80, Deltas(order=1), RunningNorm(window=300))
    values = json.loads(to_json(chain))
    values["stages"][0]["order"] = 3
    with pytest.raises(ValueError, match=r"Chain: .* made of: stages.0.order is 3, expected another value; remove"):
        from_json(json.dumps(values))
    values = json.loads(to_json(chain))
    values["stages"].pop()
    with pytest.raises(ValueError, match=r"Chain: .* made of: stages is \('Deltas',\), expected another value; remove"):
        from_json(json.dumps(values))


def test_a_change_that_is_meant():
    values = json.loads(edited(KALDI_80, num_mels=40))
    del values["hash"]
    assert from_json(json.dumps(values)) == replace(KALDI_80, num_mels=40)
    assert from_json('{"kind": "LogMel", "input_scale": 1}') == LogMel(input_scale=1)
    parts = {"kind": "Chain", "frontend": json.loads(to_json(KALDI_80)), "stages": [{"kind": "Deltas"}]}
    assert from_json(json.dumps(parts)) == Chain(KALDI_80, Deltas())


def test_what_was_expected():
    text = to_json(replace(KALDI_80, framing="mirror", num_mels=40))
    with pytest.raises(
        ValueError,
        match="^LogMel: not what is expected: num_mels is 40, expected 80; framing is 'mirror', expected 'snip'$",
    ):
        from_json(text, expect=KALDI_80)
    with pytest.raises(ValueError, match="num_mels is 40, expected 80; framing is 'mirror', expected 'snip'$"):
        from_json(text, expect=content_hash(KALDI_80))
    with pytest.raises(ValueError, match="num_mels is 40, expected 23; framing is 'mirror', expected 'snip'$"):
        from_json(text, expect=KALDI_23)
    with pytest.raises(
        ValueError, match="num_mels is 40, expected another value; framing is 'mirror', expected 'snip'$"
    ):
        from_json(text, expect=content_hash(KALDI_23))
    with pytest.raises(ValueError, match="kind is LogMel, expected Deltas$"):
        from_json(text, expect=Deltas())
    with pytest.raises(ValueError, match="kind is LogMel, expected Deltas$"):
        from_json(text, expect=content_hash(Deltas()))
    with pytest.raises(ValueError, match=r"mean.1 is 2.0, expected 3.0$"):
        from_json(to_json(GlobalNorm(mean=(1, 2), std=(1, 1))), expect=GlobalNorm(mean=(1, 3), std=(1, 1)))
    with pytest.raises(ValueError, match="expected: stages.0 is 'Deltas', expected 'RunningNorm'$"):
        from_json(to_json(Chain(KALDI_80, Deltas())), expect=Chain(KALDI_80, RunningNorm(window=9)))
    with pytest.raises(ValueError, match=r"prior is None, expected 'GlobalNorm'$"):
        from_json(to_json(RunningNorm()), expect=RunningNorm(prior=PRIOR))
    with pytest.raises(ValueError, match="prior is None, expected another value$"):
        from_json(to_json(RunningNorm()), expect=content_hash(RunningNorm(prior=PRIOR)))
    with pytest.raises(ValueError, match="1 groups of the hash are of fields that this version does not have"):
        from_json(to_json(KALDI_80), expect=content_hash(KALDI_80) + "-fffffffff")
    with pytest.raises(ValueError, match="hash: expected a kind and groups of nine hexadecimal digits, got 'kaldi-80'"):
        from_json(text, expect="kaldi-80")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "text: expected JSON: Expecting value"),
        ("[1]", r"text: expected a mapping with a kind of Spectrogram, LogMel, .*, got \(?\[1"),
        ("{}", "text: expected a mapping with a kind of"),
        ('{"kind": "LogMell"}', "kind: expected one of Spectrogram, LogMel, .*, got 'LogMell', did you mean 'LogMel'?"),
        ('{"kind": "os.system"}', "kind: expected one of"),
        ('{"kind": ["LogMel"]}', "kind: expected one of"),
        ('{"kind": "LogMel"}', "LogMel is missing input_scale"),
        ('{"kind": "GlobalNorm"}', "GlobalNorm is missing mean, std"),
        (
            '{"kind": "LogMel", "input_scale": 1, "num_mel": 3}',
            "LogMel has no field 'num_mel', did you mean 'num_mels'?",
        ),
        ('{"kind": "LogMel", "input_scale": 1, "num_mel": 3}', "; it has input_scale, sample_rate, num_mels"),
        ('{"kind": "LogMel", "input_scale": "1"}', "input_scale: expected a number, got '1'"),
        ('{"kind": "LogMel", "input_scale": true}', "input_scale: expected a number, got True"),
        ('{"kind": "LogMel", "input_scale": 1e999}', "input_scale: expected a number, got inf"),
        ('{"kind": "LogMel", "input_scale": NaN}', "text: expected JSON: NaN is no number"),
        ('{"kind": "LogMel", "input_scale": 1, "num_mels": 80.0}', "num_mels: expected an integer, got 80.0"),
        ('{"kind": "LogMel", "input_scale": 1, "high_hz": "8k"}', "high_hz: expected a number or null, got '8k'"),
        ('{"kind": "LogMel", "input_scale": 1, "remove_dc": 1}', "remove_dc: expected true or false, got 1"),
        ('{"kind": "LogMel", "input_scale": 1, "window": "hanning"}', "LogMel: window: expected one of povey"),
        ('{"kind": "LogMel", "input_scale": 1, "input_scale": 2}', "text: expected JSON: a field is there twice"),
        ('{"kind": "LogMel", "input_scale": 1, "hash": 3}', "hash: expected a string, got 3"),
        ('{"kind": "LogMel", "input_scale": 1, "hash": "abc-"}', "hash: expected a kind and groups"),
        ('{"kind": "GlobalNorm", "mean": [1, "2"], "std": [1, 1]}', "mean: expected a list, each a number, got"),
        ('{"kind": "GlobalNorm", "mean": 1, "std": [1]}', "mean: expected a list, each a number, got 1"),
        ('{"kind": "RunningNorm", "prior": {"kind": "Deltas"}}', "prior: expected a GlobalNorm or null, got Deltas"),
        ('{"kind": "RunningNorm", "prior": {"mean": [1]}}', "prior: expected a mapping with a kind"),
        ('{"kind": "Mfcc", "mel": {"kind": "LogMel", "input_scal": 1}}', "mel: LogMel has no field 'input_scal'"),
        (
            '{"kind": "Mfcc", "mel": {"kind": "LogMel", "input_scale": 0}}',
            "mel: LogMel: input_scale: expected a positive",
        ),
        ('{"kind": "Chain", "frontend": 3}', "frontend: expected one of Spectrogram, LogMel, .*, got 3"),
        ('{"kind": "Chain", "frontend": {"kind": "Deltas"}}', "Chain: frontend: expected sample_rate, dim, num_frames"),
        ("[" * 100000, "text: expected "),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        from_json(text)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True)
class Mine:
    """A stage of a user's own."""

    def __call__(self, features):
        return features


def test_what_cannot_be_written():
    for function in (to_json, content_hash):
        with pytest.raises(ValueError, match="config: expected one of Spectrogram, LogMel, .*, got Mine"):
            function(Mine())
        with pytest.raises(ValueError, match=r"stages.1: expected one of Spectrogram, LogMel, .*, got Mine\(\)"):
            function(Chain(KALDI_80, Deltas(), Mine()))
        with pytest.raises(ValueError, match="input_scale: expected a number, got True"):
            function(LogMel(input_scale=True))
    with pytest.raises(ValueError, match="text: expected a string of JSON, got dict"):
        from_json({"kind": "LogMel"})
    with pytest.raises(ValueError, match="expect: expected one of"):
        from_json(to_json(KALDI_80), expect=Mine())


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ALL)), st.data())
def test_any_edit_is_read_as_it_was_or_refused_in_one_line(name, data):
    text = to_json(ALL[name])
    place = data.draw(st.integers(0, len(text) - 1))
    width = data.draw(st.integers(0, 3))
    text = text[:place] + data.draw(st.text(alphabet='0123456789."[]{}:,-eE tfn', max_size=3)) + text[place + width :]
    try:
        config = from_json(text)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert config == ALL[name] or '"hash"' not in text
