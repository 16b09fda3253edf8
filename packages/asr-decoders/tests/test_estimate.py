import collections
import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from asr_decoders.ngram import NGram, estimate

DATA = Path(__file__).parent / "data" / "ngram"
SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
TEXT = (DATA / "text.txt").read_text(encoding="utf-8").splitlines()
FALLBACK = (0.5, 1.0, 1.5)


def arpa(path):
    """Tuple of words -> (log10 probability, log10 back-off) of a file of lmplz."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if "\t" in line]
    return {tuple(row[1].split(" ")): (float(row[0]), float(row[2]) if len(row) > 2 else 0.0) for row in rows}


def grams(model):
    """The same of an estimate."""
    return {
        tuple(model.vocabulary[word] for word in words): (prob, backoff)
        for order in model.orders
        for words, prob, backoff in zip(order.words.tolist(), order.prob.tolist(), order.backoff.tolist(), strict=True)
    }


class Literal:
    """Chen and Goodman's formulas, one n-gram at a time, with dictionaries."""

    def __init__(self, sentences, order, prune, fallback):
        texts = [("<s>", *sentence.split(), "</s>") for sentence in sentences]
        self.seen = [collections.Counter() for _ in range(order + 1)]
        for text in texts:
            for n in range(1, order + 1):
                self.seen[n].update(text[i : i + n] for i in range(len(text) - n + 1))
        self.seen[1][("<unk>",)] = 0
        self.count = [None, *(self.kneser_ney(n, order) for n in range(1, order + 1))]
        self.discounts = [None, *(self.discount(self.count[n].values(), fallback) for n in range(1, order + 1))]
        thresholds = [None, *prune, *[prune[-1]] * (order - len(prune))]
        special = {("<unk>",), ("<s>",), ("</s>",)}
        self.kept = [
            None,
            *(
                {g for g in self.seen[n] if self.seen[n][g] > thresholds[n] or g in special}
                for n in range(1, order + 1)
            ),
        ]

    def kneser_ney(self, n, order):
        if n == order:
            counts = dict(self.seen[n])
        else:
            before = collections.Counter(gram[1:] for gram in self.seen[n + 1])
            counts = {gram: seen if gram[0] == "<s>" else before[gram] for gram, seen in self.seen[n].items()}
        if n == 1:
            counts[("<s>",)] = 0
        return counts

    @staticmethod
    def discount(counts, fallback):
        n1, n2, n3, n4 = (sum(count == k for count in counts) for k in (1, 2, 3, 4))
        if n1 * n2 * n3:
            y = n1 / (n1 + 2 * n2)
            found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if all(0 <= d <= k for k, d in enumerate(found, 1)):
                return [0, *found]
        return [0, *fallback]

    def gamma(self, history):
        n = len(history) + 1
        longer = [gram for gram in self.count[n] if gram[:-1] == history]
        if not longer:
            return 1.0
        left = sum(
            self.discounts[n][min(self.count[n][g], 3)] if g in self.kept[n] else self.count[n][g] for g in longer
        )
        return left / sum(self.count[n][gram] for gram in longer)

    def prob(self, gram):
        n = len(gram)
        if gram == ("<s>",):
            return 1.0
        total = sum(count for other, count in self.count[n].items() if other[:-1] == gram[:-1])
        lower = self.prob(gram[1:]) if n > 1 else 1 / (len(self.kept[1]) - 1)
        count = self.count[n][gram]
        return (count - self.discounts[n][min(count, 3)]) / total + self.gamma(gram[:-1]) * lower


@pytest.mark.parametrize(
    ("order", "prune", "lines"),
    [
        (1, (0,), 160),
        (2, (0,), 160),
        (3, (0,), 60),
        (3, (0, 1), 60),
        (4, (0, 0, 1, 2), 40),
        (5, (0,), 25),
        (2, (1,), 60),
        (5, (0,), 1),
    ],
)
def test_the_formulas(order, prune, lines):
    model = estimate(TEXT[:lines], order=order, prune=prune, discount_fallback=FALLBACK)
    literal = Literal(TEXT[:lines], order, prune, FALLBACK)
    found = grams(model)
    assert set(found) == set.union(*literal.kept[1:])
    for gram, (prob, backoff) in found.items():
        assert prob == pytest.approx(math.log10(literal.prob(gram)), abs=1e-5), gram
        if len(gram) < order:
            assert backoff == pytest.approx(math.log10(literal.gamma(gram)), abs=1e-5), gram


@pytest.mark.parametrize(("name", "options"), [("lm", {"order": 4}), ("pruned", {"order": 3, "prune": (0, 0, 1)})])
def test_the_model_is_that_of_lmplz(name, options):
    """Discounts of some orders are computed, of others the fallback."""
    model = estimate(TEXT, **options, discount_fallback=FALLBACK)
    found, expected = grams(model), arpa(DATA / f"{name}.arpa.gz")
    assert set(found) == set(expected)
    for gram, weights in expected.items():
        assert found[gram] == pytest.approx(weights, abs=1e-6), gram
    stored = NGram.read(DATA / f"{name}.arpa.gz")
    assert model.vocabulary == stored.vocabulary
    np.testing.assert_allclose(model.log_probs(TEXT), stored.log_probs(TEXT), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"order": 1}, {"order": 3}, {"order": 4, "prune": (0, 1, 2)}, {"order": 3, "prune": (2,)}]
)
def test_probabilities_add_up_to_one(options):
    model = estimate(TEXT, **options, discount_fallback=FALLBACK)
    words = np.delete(np.arange(len(model)), model.begin)  # <s> is never predicted
    state = model.initial()
    for word in [*model.word_ids(TEXT[0].split()), *model.word_ids(["zebra", "the", "rain", "the"])]:
        log_prob, _ = model.query(np.tile(state, (words.size, 1)), words)
        assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-5)
        _, state = model.query(state, np.array([word]))


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_what_is_written_is_read_again(tmp_path, name):
    model = estimate(TEXT, order=4, discount_fallback=FALLBACK)
    model.write(tmp_path / name)
    again = NGram.read(tmp_path / name)
    assert again.vocabulary == model.vocabulary
    sentences = [*TEXT, "a fox zebra", ""]
    np.testing.assert_array_equal(again.log_probs(sentences), model.log_probs(sentences))
    with pytest.raises(ValueError, match="a model that was estimated expected, got the one of .*: copy the file"):
        again.write(tmp_path / "copy.arpa")


def test_words_or_lines():
    lines = estimate(TEXT, order=2, discount_fallback=FALLBACK)
    words = estimate(iter([line.split() for line in TEXT]), order=2, discount_fallback=FALLBACK)
    np.testing.assert_array_equal(lines.log_probs(TEXT), words.log_probs(TEXT))


@pytest.mark.parametrize(
    ("sentences", "options", "message"),
    [
        ([], {}, "sentences with words expected, got 0 without any"),
        (["", " "], {}, "sentences with words expected, got 2 without any"),
        (["a b", "a </s> b"], {}, "sentences without <unk>, <s>, </s> expected, got one of them"),
        ([["a b"]], {}, "words without spaces, other than <UNK>, expected, got 'a b'"),
        ([["a", ""]], {}, "words without spaces, other than <UNK>, expected, got ''"),
        (["a <UNK>"], {}, "words without spaces, other than <UNK>, expected, got '<UNK>'"),
        (TEXT, {"order": 0}, "order must be an integer of at least 1, got 0"),
        (TEXT, {"prune": (1, 0)}, r"prune must be 1 to 3 thresholds, none less than the one before, got \(1, 0\)"),
        (TEXT, {"prune": ()}, r"prune must be 1 to 3 thresholds"),
        (TEXT, {"prune": (0, 0, 0, 0)}, r"prune must be 1 to 3 thresholds"),
        (TEXT, {"prune": (-1,)}, "prune must be an integer of at least 0, got -1"),
        (TEXT, {}, "the text gives no discounts for order 1, they would be .* discount_fallback="),
        (["a b c"], {}, "the text gives no discounts for order 1, 4, 0 and 0 n-grams are counted 1, 2 and 3 times"),
        (TEXT, {"discount_fallback": (0.5, 1.0)}, r"discount_fallback must be three .* got \(0.5, 1.0\)"),
        (TEXT, {"discount_fallback": (0.5, 2.5, 1.0)}, r"discount_fallback must be three .* got \(0.5, 2.5, 1.0\)"),
    ],
)
def test_what_cannot_be_estimated(sentences, options, message):
    with pytest.raises(ValueError, match=message) as error:
        estimate(sentences, **options)
    assert "\n" not in str(error.value)


def test_perplexity_on_real_text():
    """lmplz (kenlm 0.3.0) -o 3 on the first 26,000 lines, on the next 1,500: 379.51747."""
    path = SHARED / "text" / "librispeech-train-clean-100.txt.gz"
    if not path.exists():
        pytest.skip("needs ../shared/data")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = file.read().splitlines()
    model = estimate(lines[:26_000], order=3)
    assert [order.prob.size for order in model.orders] == [32391, 348822, 710232]
    assert model.perplexity(lines[26_000:27_500]) == pytest.approx(379.51747, rel=1e-5)
