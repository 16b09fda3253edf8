"""asr-train train."""

from pathlib import Path

import click


@click.command()
@click.option("--config", "-c", metavar="FILE", help="A YAML file, or the name of a recipe.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one value: --set model.dropout=0.2")
@click.option(
    "--train", "train_manifests", multiple=True, metavar="MANIFEST", help="Instead of data.train; may repeat."
)
@click.option("--dev", "dev_manifests", multiple=True, metavar="MANIFEST", help="Instead of data.dev; may repeat.")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", is_flag=True, help="Continue the run in the folder from its newest checkpoint.")
def command(
    config: str | None,
    settings: tuple[str, ...],
    train_manifests: tuple[str, ...],
    dev_manifests: tuple[str, ...],
    output: Path,
    resume: bool,
) -> None:
    """Train a recogniser.

    The folder gets config.yaml, train.log, logs/ (TensorBoard), checkpoints/ and model/, the best recogniser so far.
    With --resume and no --config, the run goes on with its own configuration.
    """
    from asr_train import recipes
    from asr_train.config_file import manifests_setting, read_config
    from asr_train.errors import UserError
    from asr_train.run import prepare

    if config is None and not (resume and (output / "config.yaml").is_file()):
        raise UserError(f"--config is missing: give a YAML file or a recipe ({', '.join(recipes.names())})")
    path = recipes.find(config) if config is not None else output / "config.yaml"
    manifests = {"train": train_manifests, "dev": dev_manifests}
    own = tuple(manifests_setting(f"data.{key}", paths) for key, paths in manifests.items() if paths)
    run = prepare(read_config(path, (*own, *settings)), output, resume=resume)

    from asr_train.quiet import import_tensorflow

    import_tensorflow()
    from asr_train.loop import train

    result = train(run)
    click.echo(f"The recogniser is in {run.model}" + ("; the run was finished already." if result is None else "."))
