"""From nothing to a recogniser: synthesise a corpus, train, evaluate on voices that were never heard."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from asr_train import recipes
from asr_train.config_file import manifests_setting, read_config
from asr_train.corpora.synth import write_corpus
from asr_train.errors import UserError
from asr_train.manifest import measure, read_manifest
from asr_train.model_dir import load
from asr_train.quiet import import_tensorflow
from asr_train.run import prepare

if TYPE_CHECKING:
    from asr_train.evaluation import Evaluation

SAMPLES = 10


def quickstart(
    output: Path, *, model: str, language: str, utterances: int = 1600, say: Callable[[str], None] = print
) -> "Evaluation":
    """Make `output/corpus` and `output/run`, and return the scores on the test voices.

    Args:
        output: a new folder.
        model: "deepspeech2" or "las".
        language: "en" or "ko".
        utterances: how many to train on; a sixteenth as many are for testing, and half of that for validation.
        say: is told each line for the user.

    Raises:
        UserError: the folder is in use, or eSpeak NG is missing.
    """
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output}: not empty; choose another --output")
    held = max(utterances // 16, 2)
    say(f"Speaking a corpus of connected digits into {output / 'corpus'} ...")
    corpus = write_corpus(output / "corpus", language=language, train=utterances, dev=held // 2, test=held)
    settings = tuple(manifests_setting(f"data.{name}", [corpus[name]]) for name in ("train", "dev"))
    run = prepare(read_config(recipes.find(f"quickstart-{model}"), settings), output / "run")
    say("Training ...")
    import_tensorflow()
    from asr_train.evaluation import evaluate
    from asr_train.loop import train

    train(run)
    # What is scored is what was saved, as any user will load it.
    result = evaluate(load(run.model), measure(read_manifest(corpus["test"])))
    say(f"\n{len(result.scored)} utterances of voices that were not trained on, the first {SAMPLES}:")
    for one in result.scored[:SAMPLES]:
        say(f"  reference:  {one.utterance.text}\n  hypothesis: {one.hypothesis}\n")
    say(
        f"{result.exact:.1%} of the test strings are exactly right "
        f"(WER {result.words.rate:.2%}, {result.words.total} errors in {result.words.reference} words)."
    )
    first = result.scored[0].utterance.audio
    say(f"The recogniser is in {run.model}. Try:\n  asr-train transcribe {run.model} {first}")
    return result
