"""What `python -m asr_decoders.score` prints: one structure of plain values, as JSON or for people."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from asr_decoders.score.alignment import Edit
from asr_decoders.score.bootstrap import Comparison, compare, confidence
from asr_decoders.score.confusion import confusions
from asr_decoders.score.counts import Errors, Unit
from asr_decoders.score.files import Pair
from asr_decoders.score.rows import show

NAMES: dict[Unit, str] = {"word": "wer", "character": "cer"}
KINDS = ("substitutions", "deletions", "insertions")


@dataclass(frozen=True)
class Scored:
    """A corpus in one unit."""

    unit: Unit
    pairs: Sequence[Pair]
    errors: Sequence[Errors]
    alignments: Sequence[list[Edit[str]]] | None
    """None where they were not asked for."""

    @property
    def total(self) -> Errors:
        """Of the corpus."""
        return sum(self.errors, Errors())

    def by_speaker(self) -> dict[str, Errors]:
        """Sums, in the order in which the speakers come."""
        sums: dict[str, Errors] = {}
        for pair, found in zip(self.pairs, self.errors, strict=True):
            sums[pair.speaker] = sums.get(pair.speaker, Errors()) + found
        return sums


def counts(found: Errors) -> dict[str, Any]:
    """The counts, their sum and the rate."""
    return {"rate": found.rate, "errors": found.total, **asdict(found)}


def summary(
    scored: Sequence[Scored],
    others: Sequence[Scored],
    *,
    speakers: bool,
    intervals: bool,
    confused: int,
    aligned: bool,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """All that is asked for, in plain values; `others` are the same units of a second system."""
    pairs = scored[0].pairs
    sums = [one.by_speaker() if speakers else {} for one in (*scored, *others)]
    drawn = [list(sums[n].values()) or one.errors for n, one in enumerate((*scored, *others))]
    report: dict[str, Any] = {"utterances": len(pairs)}
    for one, errors in zip(scored, drawn, strict=False):
        report[NAMES[one.unit]] = counts(one.total)
        if intervals:
            report[NAMES[one.unit]]["confidence"] = asdict(confidence(errors, seed=seed, resamples=resamples))
    if others:
        report["compare"] = {
            NAMES[two.unit]: {
                **counts(two.total),
                **_comparison(compare(drawn[n], drawn[n + len(scored)], seed=seed, resamples=resamples)),
            }
            for n, two in enumerate(others)
        }
    if speakers:
        report["speakers"] = {
            name: {NAMES[one.unit]: counts(sums[n][name]) for n, one in enumerate(scored)} for name in sums[0]
        }
    if confused:
        report["confusions"] = {NAMES[one.unit]: _confusions(one, confused) for one in scored}
    if aligned:
        report["alignments"] = [
            {"id": pair.id, **{NAMES[one.unit]: (one.alignments or [])[n] for one in scored}}
            for n, pair in enumerate(pairs)
        ]
    return report


def text(report: dict[str, Any]) -> Iterator[str]:
    """Lines for people."""
    names = {name: units for name, units in (("wer", "words"), ("cer", "characters")) if name in report}
    yield f"utterances {report['utterances']}"
    for name, units in names.items():
        yield _line(name.upper(), report[name], units)
        if "confidence" in report[name]:
            yield f"{name.upper()} {_range(report[name]['confidence'], '%')}"
    for name, units in names.items() if "compare" in report else ():
        second = report["compare"][name]
        yield _line(f"second {name.upper()}", second, units)
        yield (
            f"second {name.upper()} - {name.upper()} {100 * second['difference']['value']:+.2f} points, "
            f"{_range(second['difference'], 'points')}; better with probability {second['probability']:.3f}"
        )
    for speaker, rates in report.get("speakers", {}).items():
        yield from (_line(f"speaker {speaker} {name.upper()}", rates[name], units) for name, units in names.items())
    for name, kinds in report.get("confusions", {}).items():
        for kind, rows in kinds.items():
            yield f"{name.upper()} {kind}, most frequent first"
            yield from (f"{times:6d}  {' -> '.join(map(_visible, found))}" for *found, times in rows)
    for one in report.get("alignments", []):
        for name in names:
            found = Errors.of(one[name])
            scores = f"{found.correct} {found.substitutions} {found.deletions} {found.insertions}"
            yield f"\nid: ({one['id']})\nScores: (#C #S #D #I) {scores}\n{show(one[name])}"


def table(scored: Sequence[Scored]) -> str:
    """A line an utterance and unit, comma-separated."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["id", "speaker", "unit", "reference", *KINDS, "errors", "rate"])
    for n, pair in enumerate(scored[0].pairs):
        for one in scored:
            found = one.errors[n]
            kinds = (found.substitutions, found.deletions, found.insertions)
            writer.writerow([pair.id, pair.speaker, one.unit, found.reference, *kinds, found.total, found.rate])
    return written.getvalue()


def _comparison(found: Comparison) -> dict[str, Any]:
    return {"difference": asdict(found.difference), "probability": found.probability}


def _confusions(one: Scored, most: int) -> dict[str, Any]:
    found = asdict(confusions(one.alignments or []))
    return {kind: [list(row) for row in found[kind][:most]] for kind in KINDS}


def _line(name: str, found: dict[str, Any], units: str) -> str:
    return (
        f"{name} {100 * found['rate']:.2f} % ({found['errors']} / {found['reference']} {units}: "
        f"{found['substitutions']} substituted, {found['deletions']} deleted, {found['insertions']} inserted)"
    )


def _range(found: dict[str, Any], unit: str) -> str:
    return (
        f"{100 * found['level']:g} % interval {100 * found['low']:.2f} to {100 * found['high']:.2f} {unit} "
        f"({found['resamples']} resamples)"
    )


def _visible(unit: str) -> str:
    return unit.replace(" ", "␣")
