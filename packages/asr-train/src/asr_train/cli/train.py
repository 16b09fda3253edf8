"""asr-train train."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr_train.errors import UserError

if TYPE_CHECKING:
    from asr_train.cluster import Cluster
    from asr_train.config import RunConfig
    from asr_train.run import Run


@click.command()
@click.option("--config", "-c", metavar="FILE", help="A YAML file, or the name of a recipe.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one value: --set model.dropout=0.2")
@click.option(
    "--train", "train_manifests", multiple=True, metavar="MANIFEST", help="Instead of data.train; may repeat."
)
@click.option("--dev", "dev_manifests", multiple=True, metavar="MANIFEST", help="Instead of data.dev; may repeat.")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder from its newest checkpoint.")
@click.option("--device", type=click.Choice(["auto", "cpu", "gpu", "tpu"]), help="Instead of train.device.")
@click.option(
    "--strategy", type=click.Choice(["auto", "one", "mirrored", "workers"]), help="Instead of train.strategy."
)
@click.option("--deterministic", is_flag=True, help="Equal seeds give equal bits; instead of train.deterministic.")
def command(
    config: str | None,
    settings: tuple[str, ...],
    train_manifests: tuple[str, ...],
    dev_manifests: tuple[str, ...],
    output: Path,
    resume: bool,
    device: str | None,
    strategy: str | None,
    deterministic: bool,
) -> None:
    """Train a recogniser.

    The folder gets config.yaml, train.log, logs/ (TensorBoard), checkpoints/ and model/, the best recogniser so far.
    With --resume and no --config, the run goes on with its own configuration. Several workers are started alike, each
    with its own TF_CONFIG or by srun, on a folder that all of them share.
    """
    from asr_train import recipes
    from asr_train.config_file import manifests_setting, read_config

    if config is None and not (resume and (output / "config.yaml").is_file()):
        raise UserError(f"--config is missing: give a YAML file or a recipe ({', '.join(recipes.names())})")
    path = recipes.find(config) if config is not None else output / "config.yaml"
    manifests = {"train": train_manifests, "dev": dev_manifests}
    own = [manifests_setting(f"data.{key}", paths) for key, paths in manifests.items() if paths]
    own += [f"train.{key}={value}" for key, value in (("device", device), ("strategy", strategy)) if value]
    own += ["train.deterministic=true"] if deterministic else []
    start(read_config(path, (*own, *settings)), output, resume=resume)


def start(config: "RunConfig", output: Path, *, resume: bool) -> None:
    """Prepare, meet the other workers if there are any, and train."""
    from asr_train.cluster import find_cluster
    from asr_train.quiet import import_tensorflow
    from asr_train.run import prepare
    from asr_train.watch import Watch

    found = find_cluster(os.environ) if config.train.strategy in ("auto", "workers") else None
    cluster = found if found is not None and len(found.addresses) > 1 else None
    if cluster is None:
        run = prepare(config, output, resume=resume)
        import_tensorflow()
        from asr_train.loop import train

        result = train(run)
    else:
        with Watch(cluster) as watch:
            if cluster.chief:
                run = prepare(config, output, resume=resume)
            watch.ready()  # the chief has prepared the folder
            if not cluster.chief:
                run = join(config, output, cluster)
            import_tensorflow()
            from asr_train.loop import train

            result = train(run, cluster=cluster)
    if cluster is None or cluster.chief:
        click.echo(f"The recogniser is in {run.model}" + ("; the run was finished already." if result is None else "."))


def join(config: "RunConfig", output: Path, cluster: "Cluster") -> "Run":
    """The run that the chief has prepared, for another worker.

    Raises:
        UserError: it is not to be seen from here, or has another configuration.
    """
    from asr_train.run import prepare

    if not (output / "config.yaml").is_file():
        raise UserError(f"{output}: not to be seen by {cluster.name(cluster.index)}; all workers must share the folder")
    return prepare(config, output, resume=True)
