"""What the README and docs/scaling.md show is so: commands and snippets run, configurations and tables are checked."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import asr_features
import asr_models
import asr_train.cli
from asr_train import recipes
from asr_train.cluster import find_cluster, from_tf_config
from asr_train.config import FRONTENDS, NoiseConfig, RunConfig, plain, to_dict
from asr_train.config_file import from_dict
from asr_train.watch import BEAT, PATIENCE, SILENCE

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")
SCALING = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block in one of the languages, in order."""
    return [block for block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S) if block[0] in languages]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its rank."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text: rows of cells, the heading first."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    rows = [[[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()] for table in found]
    return [[table[0], *table[2:]] for table in rows]


def run(text: str, folder: Path) -> None:
    """Runs the commands and snippets of a text in a folder, in order."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    for language, code in blocks(text, "bash", "python"):
        command = ["bash", "-euc", code] if language == "bash" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        if language == "bash":  # the command line is silent on standard error; a library may not be
            assert done.stderr == "", code


def test_commands_and_snippets_of_the_readme_run(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    assert [language for language, _ in blocks(README, "bash", "python")].count("bash") == 8
    run(README, tmp_path)
    log = (tmp_path / "runs/first/train.log").read_text(encoding="utf-8")
    listed = {row[0].strip("`"): row[1] for row in tables(section(README, "The log"))[0][1:]}
    for event in map(json.loads, log.splitlines()):
        names = event.keys() - {"time", "event"}
        assert [name for name in names if f"`{name}`" not in listed[event["event"]]] == [], event


def test_commands_of_scaling_run(corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    (tmp_path / "packages").symlink_to(ROOT / "packages")
    assert len(blocks(SCALING, "bash")) == 3
    run(re.sub(r"^```python.*?^```$", "", SCALING, flags=re.M | re.S), tmp_path)
    assert (tmp_path / "runs/two/model/weights.safetensors").is_file()


def test_every_event_of_the_log_is_listed() -> None:
    source = (PACKAGE / "src/asr_train/reporter.py").read_text(encoding="utf-8")
    listed = {row[0].strip("`") for row in tables(section(README, "The log"))[0][1:]}
    assert set(re.findall(r"\.record\(\"(\w+)\"", source)) == listed


def test_every_status_is_listed() -> None:
    listed = {row[0] for row in tables(section(README, "Exit status and errors"))[0][1:]}
    assert set(re.findall(r"\d+", (asr_train.cli.__doc__ or "").split("Exit status:")[1])) == listed


def test_every_recipe_is_listed() -> None:
    table = next(table for table in tables(section(README, "The configuration")) if table[0] == ["recipe", "what"])
    assert sorted(name for row in table[1:] for name in re.findall(r"`([\w-]+)`", row[0])) == recipes.names()


def configurations(text: str) -> list[Any]:
    shown = [list(yaml.safe_load_all(code)) for _, code in blocks(text, "yaml")]
    return [part[0] for part in shown if "kind" not in part[0]]


def test_the_configurations_shown_are_some() -> None:
    first, *_ = configurations(README)
    assert from_dict(first).decode.beam_size == 10
    assert len(configurations(README)) == 3 and len(configurations(SCALING)) == 3
    for shown in (*configurations(README), *configurations(SCALING)):
        from_dict(shown)


def test_every_key_is_shown_with_its_default() -> None:
    _, everything, parts = configurations(README)
    defaults = to_dict(RunConfig())
    assert everything == defaults
    assert [list(values) for values in everything.values()] == [list(values) for values in defaults.values()]
    assert parts["augment"] == {
        "spec_augment": dataclasses.asdict(asr_features.SpecAugment()),
        "noise": plain(dataclasses.asdict(NoiseConfig())),
    }
    assert parts["model"] == {"kind": "las", **plain(dataclasses.asdict(asr_models.LasConfig()))}


OPTIONS = {
    "train": "from-file data-config model-config sp-model-path train-dataset-paths dev-dataset-paths "
    "train-dataset-size output-path pretrained-model-path epochs steps-per-epoch learning-rate min-learning-rate "
    "warmup-rate warmup-steps batch-size dev-batch-size shuffle-buffer-size max-over-policy use-tfrecord "
    "tensorboard-update-freq mixed-precision seed skip-epochs device",
    "evaluate": "data-config model-config dataset-paths model-path sp-model-path output-path batch-size beam-size "
    "use-tfrecord mixed-precision device",
    "transcribe": "data-config model-config audio-files model-path sp-model-path output-path batch-size beam-size "
    "mixed-precision device",
    "records": "data-config dataset-paths output-dir sp-model-path",
    "": "file_format audio_feature_type sample_rate frame_length frame_step fft_length num_mel_bins num_mfcc "
    "lower_edge_hertz upper_edge_hertz max_audio_length max_token_length use_delta_accelerate spec_augment enable W F "
    "m_F T p m_T",
}
"""Of the reference system, by the command that has their place here; the last are of its data configuration."""


def test_every_option_of_the_reference_system_has_its_place() -> None:
    keys = {f"{part}.{key}" for part, values in to_dict(RunConfig()).items() for key in values}
    keys |= {f"features.{field.name}" for cls in FRONTENDS.values() for field in dataclasses.fields(cls)}
    keys |= {"features.kind", *RunConfig.__dataclass_fields__}
    policy = {field.name for field in dataclasses.fields(asr_features.SpecAugment)}
    found = tables(section(README, "From cosmoquester/speech-recognition"))
    for (command, theirs), ((_, _), *rows) in zip(OPTIONS.items(), found, strict=True):
        told = [name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])]
        assert sorted(told) == sorted(theirs.split()), command
        ours = names_of(command) if command else {"mfcc", *policy}
        for name in re.findall(r"`([^` ]+)[^`]*`", " ".join(row[1] for row in rows)):
            assert name in ours | keys, (command, name)


def names_of(command: str) -> set[str]:
    """Options and arguments of a command, as its help has them."""
    parameters = import_module(f"asr_train.cli.{command}").command.params
    arguments = {(p.metavar or p.name.upper()).removesuffix("...") for p in parameters if not p.opts[0].startswith("-")}
    return arguments | {name for p in parameters for name in p.opts if name.startswith("-")}


def check_command(words: list[str]) -> None:
    """That the command line takes an `asr-train` command; nothing is run."""
    program, command, *rest = words
    assert program == "asr-train"
    import_module(f"asr_train.cli.{command}").command.make_context(command, rest)


def test_what_starts_workers_is_valid() -> None:
    (_, config), *_ = blocks(SCALING, "json")
    cluster = from_tf_config(config)
    assert cluster.index == 1 and f"asr-train: {cluster.name(1)} ended: its process is gone; start all" in SCALING
    assert (PATIENCE, BEAT, SILENCE) == (600, 2, 30), "ten minutes, two seconds, half a minute, say the documents"
    ((_, script),) = blocks(SCALING, "sh")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (started,) = re.findall(r"^srun --\S+ (.*)$", script, re.M)
    check_command(shlex.split(started))
    nodes = re.findall(r"^#SBATCH --(?:nodes|ntasks-per-node)=(\d+)$", script, re.M)
    slurm = dict(
        zip(("SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"), (nodes[0], f"{nodes[1]}(x{nodes[0]})"), strict=True)
    )
    found = find_cluster({**slurm, "SLURM_PROCID": "3", "SLURM_STEP_NODELIST": "gpu[1-4]"})
    assert found is not None and found.addresses[3] == "gpu4:12345"


def test_the_kubernetes_job_describes_its_workers() -> None:
    shown = [list(yaml.safe_load_all(code)) for _, code in blocks(SCALING, "yaml")]
    ((service, job),) = [parts for parts in shown if len(parts) == 2]
    pod = job["spec"]["template"]["spec"]
    (worker,) = pod["containers"]
    check_command(worker["command"])
    index, config = worker["env"]
    assert (
        service["spec"]["selector"] == {"job-name": job["metadata"]["name"]} and service["spec"]["clusterIP"] == "None"
    )
    assert pod["subdomain"] == service["metadata"]["name"] and job["spec"]["completionMode"] == "Indexed"
    for n in range(job["spec"]["completions"]):
        cluster = from_tf_config(config["value"].replace(f"$({index['name']})", str(n)))
        names = [f"{job['metadata']['name']}-{k}.{pod['subdomain']}:12345" for k in range(job["spec"]["completions"])]
        assert cluster.addresses == tuple(names) and cluster.index == n


def test_the_arithmetic_of_the_plans_is_right() -> None:
    heading, *rows = tables(section(SCALING, "Two plans"))[0]
    for column, name in enumerate(heading[3:], 3):
        known: dict[str, float] = {}
        for row in rows:
            shown = float(row[column].strip("*").replace(",", ""))
            formula = row[2].strip("`")
            known[row[1].strip("`")] = shown if formula == "given" else eval(formula, {"__builtins__": {}}, known)
            assert known[row[1].strip("`")] == pytest.approx(shown, rel=0.01), (name, row)
        assert f"{known['H']:,.0f} h" == name
    large = from_dict(configurations(SCALING)[-1])
    assert large.data.batch_seconds == known["B"]
    assert large.train.epochs * (large.train.steps_per_epoch or 0) == pytest.approx(known["E"] * known["Q"], rel=0.02)
    small = from_dict(configurations(SCALING)[-2])
    values = {row[1].strip("`"): row[3].strip("*").replace(",", "") for row in rows}
    assert (small.data.batch_seconds, small.train.epochs) == (float(values["B"]), int(values["E"]))
    assert len(small.augment.speed) == 3 and sum(1 / s for s in small.augment.speed) == pytest.approx(3.02, abs=0.005)


def test_the_padding_told_is_that_of_the_snippet() -> None:
    ((_, code),) = blocks(SCALING, "python")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    table = next(table for table in tables(SCALING) if table[0] == ["buckets", "padding"])
    assert [line.split() for line in printed.getvalue().splitlines()] == table[1:]
