"""`python -m asr_decoders.score REF HYP`: word and character error rates of a corpus."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from asr_decoders.score import report
from asr_decoders.score.alignment import WEIGHTS, Weights, align
from asr_decoders.score.counts import UNITS, Errors, Unit, corpus_errors, units
from asr_decoders.score.files import FORMATS, Pair, read_pairs, write_trn
from asr_decoders.score.spaces import normalize_spaces
from asr_decoders.text import NORMALIZERS, Compose

EXTRAS = ("alignments", "confusions", "compare", "confidence")  # what has no place in a table of utterances
FORMS = "a name ending in .trn, .stm or .ctm is that, any other has lines of an id, a tab (or a space) and the text"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help tells more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the rates; 0 when done, 2 for wrong input, with one line on stderr."""
    parser = _parser()
    options = parser.parse_args(arguments)
    extras = [f"--{name}" for name in EXTRAS if getattr(options, name)]
    if options.format == "csv" and extras:
        parser.error(f"--format csv is a table of utterances, without {', '.join(extras)}: take json")
    try:
        pairs = _pairs(options, options.hypothesis)
        others = _pairs(options, options.compare) if options.compare else []
        if options.write_trn:
            options.write_trn.mkdir(parents=True, exist_ok=True)
            write_trn(options.write_trn / "ref.trn", ((pair.id, pair.reference) for pair in pairs))
            write_trn(options.write_trn / "hyp.trn", ((pair.id, pair.hypothesis) for pair in pairs))
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    aligned = bool(options.alignments or options.confusions)
    scored = [_scored(pairs, unit, options, aligned=aligned) for unit in dict.fromkeys(options.unit or UNITS)]
    if options.format == "csv":
        print(report.table(scored), end="")
        return 0
    found = report.summary(
        scored,
        [_scored(others, one.unit, options, aligned=False) for one in scored if others],
        speakers=options.speakers,
        intervals=options.confidence,
        confused=options.confusions,
        aligned=options.alignments,
        seed=options.seed,
        resamples=options.resamples,
    )
    if options.format == "json":
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(report.text(found)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m asr_decoders.score", description="Word and character error rates of a corpus.")
    add = parser.add_argument
    add("reference", metavar="REF", type=Path, help=f"what was said; {FORMS}, UTF-8")
    add("hypothesis", metavar="HYP", type=Path, help="what was recognised: the same ids in any order")
    add("--compare", metavar="HYP2", type=Path, help="a second system: the difference of rates and how sure it is")
    add("--unit", choices=UNITS, action="append", help="count this alone (default: both)")
    add("--no-spaces", action="store_true", help="leave spaces out of the character errors")
    add("--weights", choices=tuple(WEIGHTS), default="equal", help="costs of the alignment (default %(default)s)")
    add(
        "--normalize",
        choices=NORMALIZERS,
        action="append",
        default=[],
        help="normalise both texts before; several are applied in their order",
    )
    add("--space-normalized", action="store_true", help="space the hypothesis as the reference where letters agree")
    add("--format", choices=("text", "json", "csv"), default="text", help="csv: a line an utterance and unit")
    add("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    add("--alignments", action="store_true", help="print every utterance aligned, as sclite does")
    add("--confusions", metavar="N", type=_count, default=0, help="print the N most frequent of each kind of error")
    add("--speakers", action="store_true", help="rates of speakers: what an id has before its first - or _")
    add("--confidence", action="store_true", help="95 %% intervals, by drawing utterances (with --speakers, speakers)")
    add("--resamples", metavar="N", type=_count, default=1000, help="how often to draw (default %(default)s)")
    add("--seed", type=int, default=0, help="of the draws (default %(default)s)")
    add(
        "--write-trn", metavar="FOLDER", type=Path, help="write the normalised texts as ref.trn and hyp.trn, for sclite"
    )
    for name in ("reference", "hypothesis"):
        add(f"--{name}-format", choices=FORMATS, help="table: has a header; lines: texts without ids")
    return parser


def _count(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number of at least 1 expected, got {text!r}")
    return int(text)


def _pairs(options: argparse.Namespace, hypothesis: Path) -> list[Pair]:
    pairs = read_pairs(
        options.reference,
        hypothesis,
        reference_format=options.reference_format,
        hypothesis_format=options.hypothesis_format,
        normalize=Compose(*(NORMALIZERS[name] for name in options.normalize)),
    )
    if options.space_normalized:
        return [pair._replace(hypothesis=normalize_spaces(pair.reference, pair.hypothesis)) for pair in pairs]
    return pairs


def _scored(pairs: Sequence[Pair], unit: Unit, options: argparse.Namespace, *, aligned: bool) -> report.Scored:
    spaces = unit == "word" or not options.no_spaces
    weights: Weights = options.weights
    if not aligned:
        said, heard = [one.reference for one in pairs], [one.hypothesis for one in pairs]
        found = corpus_errors(said, heard, unit=unit, spaces=spaces, weights=weights)
        return report.Scored(unit, pairs, found, None)
    texts = [[units(text, unit, spaces=spaces) for text in (one.reference, one.hypothesis)] for one in pairs]
    alignments = [align(reference, hypothesis, weights=weights) for reference, hypothesis in texts]
    return report.Scored(unit, pairs, [Errors.of(edits) for edits in alignments], alignments)


if __name__ == "__main__":
    sys.exit(main())
