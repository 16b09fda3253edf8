"""A small corpus of synthesised speech, and a configuration that trains on it in seconds."""

import gc
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from asr_train.config import RunConfig
from asr_train.config_file import from_dict
from asr_train.corpora.synth import write_corpus
from asr_train.stopping import Stopped

TINY: dict[str, Any] = {
    "features": {"preset": "kaldi-23", "sample_rate": 8000},
    "tokenizer": {"kind": "char"},
    "model": {
        "preset": "deepspeech2-small",
        "convolutions": [{"channels": 4, "kernel": [5, 5], "stride": [2, 2]}],
        "recurrent_layers": 1,
        "recurrent_units": 16,
    },
    "data": {"batch_seconds": 12, "buckets": 2},
    "train": {"epochs": 2, "warmup_steps": 2, "checkpoint_steps": 2},
}
TINY_LAS = {
    **TINY,
    "model": {
        "preset": "las-small",
        "listener_layers": 2,
        "listener_units": 12,
        "speller_units": 16,
        "embedding_units": 8,
        "attention_units": 12,
    },
    # A speller that has learnt nothing does not end by itself.
    "decode": {"max_length_ratio": 0.3},
}


def pytest_collection_finish() -> None:
    """What is loaded stays: without it the collector has little to look through each time that a step is traced."""
    gc.freeze()


def pytest_exception_interact(node: Any, call: Any) -> None:
    """A signal to pytest reaches the run that is being tested; it is meant for pytest, all the same."""
    if isinstance(call.excinfo.value, Stopped):
        node.session.shouldstop = str(call.excinfo.value)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`start(command, **options of Popen)`: a process; it and all that it starts are gone when the test is over."""
    begun: list[subprocess.Popen[str]] = []

    def start(command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        begun.append(subprocess.Popen(command, text=True, start_new_session=True, **options))
        return begun[-1]

    yield start
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train.tsv` (24 utterances), `dev.tsv` (6) and `test.tsv` (6) with their FLAC files, at 8 kHz."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, train=24, dev=6, test=6, sample_rate=8000)
    return folder


@pytest.fixture(scope="session")
def tiny_ctc(corpus: Path) -> RunConfig:
    """A narrow DeepSpeech2 on that corpus."""
    return on(corpus, TINY)


@pytest.fixture(scope="session", params=["deepspeech2", "las"])
def tiny(request: pytest.FixtureRequest, corpus: Path) -> RunConfig:
    """A narrow model of each family, on that corpus."""
    return on(corpus, TINY if request.param == "deepspeech2" else TINY_LAS)


def on(corpus: Path, values: dict[str, Any]) -> RunConfig:
    data = {**TINY["data"], "train": [str(corpus / "train.tsv")], "dev": [str(corpus / "dev.tsv")]}
    return from_dict({**values, "data": data})
