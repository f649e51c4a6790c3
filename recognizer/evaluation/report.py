"""Figures as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from recognizer.evaluation.breakdown import (
    RUN_LENGTHS,
    deletion_histogram,
    deletion_runs,
    errors_by_length,
    range_name,
    recall_of,
)
from recognizer.evaluation.calibration import Calibration, calibration_of, confidences_and_truth
from recognizer.evaluation.measurement import SetResult, pooled
from recognizer.evaluation.recognition import Waits
from recognizer.evaluation.uncertainty import Interval, difference_interval, wer_interval

WAITS: Final = {
    "shown_audio": "word's end to its first appearance, audio time",
    "shown_compute": "  computing the piece that showed it",
    "silence": "last word's end to the endpoint's decision, audio time",
    "final_audio": "last word's end to the final, audio time",
    "final_compute": "  computing the piece that told it",
}
"""Names of the delays and what they are called in a table."""


def by_system(results: Sequence[SetResult]) -> dict[str, list[SetResult]]:
    """Return the results of each system, with all sets pooled at the end where there are several."""
    systems: dict[str, list[SetResult]] = {}
    for result in results:
        systems.setdefault(result.system, []).append(result)
    return {name: own if len(own) == 1 else [*own, pooled(own)] for name, own in systems.items()}


def as_table(results: Sequence[SetResult], condition: str) -> Table:
    """Return a table of the results, titled with the `condition` they were measured under."""
    table = Table(title=f"Word errors, {condition}")
    table.add_column("set", no_wrap=True)
    table.add_column("system", no_wrap=True)
    for heading in ("recordings", "words", "sub", "del", "ins", "WER %", "95 % interval", "real-time factor"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        errors = result.errors
        left_out = f" (+{result.unreadable} unreadable)" if result.unreadable else ""
        table.add_row(
            result.name,
            result.system,
            f"{result.recordings}{left_out}",
            str(errors.words),
            str(errors.substitutions),
            str(errors.deletions),
            str(errors.insertions),
            percent(errors.rate) if result.recordings else "-",
            interval_text(wer_interval(result.outcomes)),
            f"{result.real_time_factor:.4f}" if result.recordings else "-",
        )
    return table


def detail_tables(results: Sequence[SetResult], condition: str) -> list[Table]:
    """Return tables of one system's sets, pooled: by length, deletion runs, deciding words, delays, calibration."""
    whole = pooled(results)
    name = whole.system
    lengths = Table(title=f"{name}: WER by words said, {condition}")
    _columns(lengths, "words said", "recordings", "words", "sub", "del", "ins", "WER %")
    for length, (count, errors) in errors_by_length(whole.outcomes).items():
        counts = (errors.words, errors.substitutions, errors.deletions, errors.insertions)
        lengths.add_row(length, str(count), *map(str, counts), percent(errors.rate))
    lost = Table(title=f"{name}: runs of deletions")
    _columns(lost, "words in a row", "runs", "words lost", "% of words said")
    for length, (runs, words) in deletion_histogram(deletion_runs(whole.outcomes)).items():
        lost.add_row(length, str(runs), str(words), percent(words / max(1, whole.errors.words)))
    deciding = Table(title=f"{name}: words that decide, {condition}")
    _columns(deciding, "words", "said", "recall %", "recognised", "precision %")
    for kind, found in recall_of(whole.outcomes).items():
        shares = [percent(share) if share is not None else "-" for share in (found.recall, found.precision)]
        deciding.add_row(kind, str(found.said), shares[0], str(found.told), shares[1])
    tables = [lengths, lost, deciding]
    if any(figures["count"] for figures in delays(whole.waits).values()):
        waits = Table(title=f"{name}: delays, ms")
        _columns(waits, "from", "count", "P50", "P95")
        for key, figures in delays(whole.waits).items():
            shown = ["-" if figures[share] is None else f"{figures[share]:.0f}" for share in ("p50", "p95")]
            waits.add_row(WAITS[key], str(figures["count"]), *shown)
        tables.append(waits)
    return tables


def calibration_of_results(results: Sequence[SetResult]) -> Calibration | None:
    return calibration_of(*confidences_and_truth(outcome for result in results for outcome in result.outcomes))


def calibration_sentence(calibration: Calibration) -> str:
    """The figures of a calibration in one line."""
    return (
        f"confidence of {calibration.words} words, {percent(calibration.share_right)} % right: "
        f"Brier score {calibration.brier:.4f} (constant: {calibration.brier_of_constant:.4f}), expected calibration "
        f"error {calibration.expected_error:.4f}, area under the ROC curve {calibration.roc_area:.3f}"
    )


def comparison_lines(results: Sequence[SetResult]) -> list[str]:
    """Return one line per set and further system: how far the first system's WER lies from it."""
    ours, *peers = by_system(results).values()
    lines = []
    for theirs in peers:
        for mine, other in zip(ours, theirs, strict=True):
            gap = difference_interval(mine.outcomes, other.outcomes)
            if gap is not None:
                points = 100 * (mine.errors.rate - other.errors.rate)
                lines.append(
                    f"{mine.name}: {mine.system} against {other.system}: {points:+.1f} points "
                    f"({100 * gap.low:+.1f} to {100 * gap.high:+.1f}, 95 % over {gap.over})"
                )
    return lines


def oracle_lines(results: Sequence[SetResult], condition: str) -> list[str]:
    """Return one line per set and system whose lattices were kept: how good their best paths are."""
    return [
        f"{result.name}: {result.system}: lattice oracle WER {percent(result.oracle_rate)} % ({condition}), "
        f"best path {percent(result.errors.rate)} %"
        for own in by_system(results).values()
        for result in own
        if result.oracle_rate is not None
    ]


def print_table(table: Table) -> None:
    """Print to standard output, wide enough for every column where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(table)


def as_json(results: Sequence[SetResult], condition: str) -> dict[str, Any]:
    """Return what ``--json`` writes: ``wer`` is errors per word (0.4 is 40 %), ``null`` where nothing was measured."""
    systems = {
        name: {result.name: set_as_json(result, condition) for result in own}
        for name, own in by_system(results).items()
    }
    overall = {name: own.pop("all") for name, own in systems.items() if len(own) > 1 and "all" in own}
    ours, *peers = systems
    return {
        "condition": condition,
        "system": ours,
        "sets": systems[ours],
        "overall": overall.get(ours) or next(iter(systems[ours].values())),
        "peers": {peer: systems[peer] for peer in peers},
        "comparisons": comparison_lines(results),
    }


def set_as_json(result: SetResult, condition: str) -> dict[str, Any]:
    """Return one set's figures; shares are of 1, times in ms."""
    errors, outcomes = result.errors, result.outcomes
    runs = deletion_histogram(deletion_runs(outcomes))
    calibration = calibration_of(*confidences_and_truth(outcomes))
    return {
        "recordings": result.recordings,
        "unreadable": result.unreadable,
        "words": errors.words,
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "wer": round(errors.rate, 5) if result.recordings else None,
        "oracle_wer": _short(result.oracle_rate),
        "wer_interval": _interval(wer_interval(outcomes)),
        "real_time_factor": round(result.real_time_factor, 5) if result.recordings else None,
        "audio_s": round(result.audio_s, 2),
        "by_length": {
            length: {"recordings": count, "words": found.words, "wer": round(found.rate, 5)}
            for length, (count, found) in errors_by_length(outcomes).items()
        },
        "deletion_runs": {length: {"runs": count, "words": words} for length, (count, words) in runs.items()},
        "recall": {
            kind: {"said": found.said, "recall": _short(found.recall), "precision": _short(found.precision)}
            for kind, found in recall_of(outcomes).items()
        },
        "delay_ms": delays(result.waits),
        "calibration": None if calibration is None else _calibration(calibration),
        "condition": condition,
    }


def delays(waits: Waits) -> dict[str, dict[str, float | int | None]]:
    """Return count, P50 and P95 per kind of delay."""
    found: dict[str, dict[str, float | int | None]] = {}
    for name in WAITS:
        values = getattr(waits, name)
        p50, p95 = (round(float(q), 2) for q in np.percentile(values, (50, 95))) if values else (None, None)
        found[name] = {"count": len(values), "p50": p50, "p95": p95}
    return found


def lost_in_long_runs(result: SetResult) -> float:
    """Share of the words said that were lost in runs of five or more."""
    histogram = deletion_histogram(deletion_runs(result.outcomes))
    lost = sum(histogram[range_name(bounds)][1] for bounds in RUN_LENGTHS if bounds[0] >= 5)
    return lost / max(1, result.errors.words)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def interval_text(interval: Interval | None) -> str:
    return "-" if interval is None else f"{percent(interval.low)}-{percent(interval.high)} ({interval.over})"


def _columns(table: Table, *headings: str) -> None:
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)


def _interval(interval: Interval | None) -> Mapping[str, Any] | None:
    if interval is None:
        return None
    return {"low": round(interval.low, 5), "high": round(interval.high, 5), "over": interval.over}


def _calibration(found: Calibration) -> dict[str, Any]:
    return {
        "words": found.words,
        "share_right": round(found.share_right, 5),
        "brier": round(found.brier, 5),
        "brier_of_constant": round(found.brier_of_constant, 5),
        "expected_calibration_error": round(found.expected_error, 5),
        "roc_area": round(found.roc_area, 4),
        "bins": [
            {
                "low": one.low,
                "words": one.words,
                "mean_confidence": round(one.mean_confidence, 4),
                "share_right": round(one.share_right, 4),
            }
            for one in found.bins
        ],
    }


def _short(share: float | None) -> float | None:
    return None if share is None else round(share, 5)
