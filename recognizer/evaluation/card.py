"""Figures as Markdown, for a model pack's card."""

from __future__ import annotations

from collections.abc import Sequence

from recognizer.evaluation.breakdown import deletion_histogram, deletion_runs, errors_by_length, recall_of
from recognizer.evaluation.calibration import reliability_text
from recognizer.evaluation.measurement import SetResult, pooled
from recognizer.evaluation.report import (
    WAITS,
    by_system,
    calibration_of_results,
    calibration_sentence,
    comparison_lines,
    delays,
    interval_text,
    oracle_lines,
    percent,
)
from recognizer.evaluation.uncertainty import wer_interval


def as_markdown(results: Sequence[SetResult], condition: str) -> str:
    """Return the word error rates of all systems, and the details of the first one, all sets pooled."""
    systems = by_system(results)
    lines = [f"Word error rates of **{condition}**.", ""]
    lines += _head("set", "system", "recordings", "words", "sub", "del", "ins", "WER %", "95 % interval")
    for own in systems.values():
        for result in own:
            errors = result.errors
            counts = (errors.words, errors.substitutions, errors.deletions, errors.insertions)
            rate = percent(errors.rate) if result.recordings else "-"
            interval = interval_text(wer_interval(result.outcomes))
            lines.append(_row(result.name, result.system, result.recordings, *counts, rate, interval))
    lines += ["", *(f"- {line}" for line in (*comparison_lines(results), *oracle_lines(results, condition)))]
    first = [result for result in results if result.system == results[0].system]
    lines += _details(first, condition)
    return "\n".join(lines).rstrip() + "\n"


def _details(results: Sequence[SetResult], condition: str) -> list[str]:
    whole = pooled(results)
    words = max(1, whole.errors.words)
    lines = [
        "",
        f"{whole.system}, all sets, {condition}:",
        "",
        *_head("words said", "recordings", "words", "WER %"),
    ]
    for length, (count, errors) in errors_by_length(whole.outcomes).items():
        lines.append(_row(length, count, errors.words, percent(errors.rate)))
    lines += ["", *_head("deletions in a row", "runs", "words lost", "% of words said")]
    for length, (runs, lost) in deletion_histogram(deletion_runs(whole.outcomes)).items():
        lines.append(_row(length, runs, lost, percent(lost / words)))
    lines += ["", *_head("words that decide", "said", "recall %", "precision %")]
    for kind, found in recall_of(whole.outcomes).items():
        shares = [percent(share) if share is not None else "-" for share in (found.recall, found.precision)]
        lines.append(_row(kind, found.said, *shares))
    lines += ["", *_head("delay", "count", "P50 ms", "P95 ms")]
    for name, figures in delays(whole.waits).items():
        shown = ["-" if figures[share] is None else f"{figures[share]:.0f}" for share in ("p50", "p95")]
        lines.append(_row(WAITS[name].strip(), figures["count"], *shown))
    calibration = calibration_of_results(results)
    if calibration is not None:
        sentence = calibration_sentence(calibration)
        lines += ["", sentence[0].upper() + sentence[1:] + ".", "", "```", reliability_text(calibration), "```"]
    return lines


def _head(*headings: str) -> list[str]:
    return [_row(*headings), "|" + "---|" * len(headings)]


def _row(*fields: object) -> str:
    return "| " + " | ".join(str(field).replace("|", "/") for field in fields) + " |"
