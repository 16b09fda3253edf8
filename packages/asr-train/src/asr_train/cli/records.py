"""asr-train records."""

from pathlib import Path

import click


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="MANIFEST...")
@click.option("--config", "-c", required=True, metavar="FILE", help="A YAML file, or the name of a recipe.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change one value of it.")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--shards", type=click.IntRange(min=1, max=99999), default=8, show_default=True)
@click.option("--gzip", "compress", is_flag=True, help="Smaller files, slower to read.")
def command(
    inputs: tuple[Path, ...], config: str, settings: tuple[str, ...], output: Path, shards: int, compress: bool
) -> None:
    """Write features and tokens to TFRecords, for data.records.

    Features, speeds and tokenizer are those of the configuration. In place of manifests: .tfrecord files of
    cosmoquester/speech-recognition, with tokenizer.path in the configuration.
    """
    from asr_train import recipes
    from asr_train.config_file import read_config
    from asr_train.quiet import import_tensorflow

    settled = read_config(recipes.find(config), settings)
    import_tensorflow()
    from asr_train.recording import record

    about = record(inputs, output, settled, shards=shards, compress=compress)
    hours = about["seconds"] / 3600
    click.echo(f"{output}: {about['utterances']} utterances, {hours:.2f} hours, in {about['shards']} files")
