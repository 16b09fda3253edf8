"""Against KenLM itself, where its package is installed."""

import gzip
import math
import random
from pathlib import Path

import numpy as np
import pytest

from asr_decoders.ngram import NGram, estimate

kenlm = pytest.importorskip("kenlm")

DATA = Path(__file__).parent / "data" / "ngram"
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def scores(model, sentences):
    """ln p, summed in double precision."""
    return np.array([sum(prob for prob, _, _ in model.full_scores(text)) for text in sentences]) * math.log(10)


@pytest.mark.parametrize("file", ["lm.probing", "lm.trie", "lm.trie_q", "lm.trie_a", "lm.trie_qa"])
def test_1500_sentences(file):
    model = NGram.read(DATA / file)
    choose = random.Random(file)
    words = [*model.vocabulary[3:], "zebra"]
    lines = (DATA / "text.txt").read_text(encoding="utf-8").splitlines()
    sentences = [" ".join(choose.choices(words, k=choose.randint(0, 12))) for _ in range(1340)] + lines
    assert len(sentences) == 1500
    assert np.abs(model.log_probs(sentences) - scores(kenlm.Model(str(DATA / file)), sentences)).max() < 1e-4


def test_kenlm_reads_what_is_written(tmp_path):
    path = SHARED / "text" / "librispeech-train-clean-100.txt.gz"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    model = estimate(lines[:10_000], order=3, prune=(0, 0, 1))
    model.write(tmp_path / "lm.arpa")
    held = lines[-1500:]
    theirs = scores(kenlm.Model(str(tmp_path / "lm.arpa")), held)
    assert np.abs(model.log_probs(held) - theirs).max() < 1e-4
    assert np.abs(NGram.read(tmp_path / "lm.arpa").log_probs(held) - theirs).max() < 1e-4
