"""The model card: what a model folder says of itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr_train import __version__
from asr_train.checkpoint import Progress
from asr_train.config import MODELS, kind_of
from asr_train.run import Run
from asr_train.tokenizer import Tokenizer

if TYPE_CHECKING:
    from asr_train.evaluation import Evaluation

USE = """
```python
import asr_train

recognizer = asr_train.load("path/to/this/folder")
print(recognizer.transcribe("audio.wav").text)
```

`config.json` says what the recogniser is made of, `weights.safetensors` holds the weights, `tokenizer.model` the
units, and `SHA256SUMS` the sums that are checked when the folder is loaded. Loading runs no code from the folder.
"""


def model_card(run: Run, model: Any, progress: Progress, result: "Evaluation") -> str:
    """Markdown with the front matter that model hubs read."""
    features, words, characters = run.config.features, result.words, result.characters
    hours = sum(u.seconds or 0.0 for u in run.train) / 3600
    return f"""{_front(kind_of(run.config.model, MODELS))}
# A speech recogniser

{type(model).__name__} with {model.count_params():,} weights, written by asr-train {__version__}.

| | |
|---|---|
| audio | {features.sample_rate} Hz, {features.dim} features a frame |
| units | {run.tokenizer.size} SentencePiece pieces |
| trained on | {len(run.train)} utterances, {hours:.2f} hours; {progress.step} steps, {progress.epoch} epochs |
| WER | {words.rate:.2%} ({words.total} errors in {words.reference} words of {len(result.scored)} dev utterances) |
| CER | {characters.rate:.2%} ({characters.total} errors in {characters.reference} characters) |
{USE}"""


def averaged_card(parts: Mapping[str, Any], tokenizer: Tokenizer, folders: Sequence[Path]) -> str:
    """The card of the mean of checkpoints, of which no scores are known."""
    features, kind = parts["frontend"], kind_of(parts["model"], MODELS)
    names = ", ".join(folder.name for folder in folders)
    return f"""{_front(kind)}
# A speech recogniser

The mean of {len(folders)} checkpoints ({names}), written by asr-train {__version__}.

| | |
|---|---|
| audio | {features.sample_rate} Hz, {features.dim} features a frame |
| units | {tokenizer.size} SentencePiece pieces |
{USE}"""


def _front(kind: str) -> str:
    return f"""---
library_name: asr-train
pipeline_tag: automatic-speech-recognition
tags: [automatic-speech-recognition, {kind}]
---"""
