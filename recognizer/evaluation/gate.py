"""The regression gate: figures of now against a committed baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from recognizer.evaluation.measurement import SetResult, pooled

DEFAULT_MARGIN: Final = 1.0
_FORMAT: Final = 1
_OVERALL: Final = "all"


class BaselineError(ValueError):
    """The baseline cannot be used for these figures; the message is one sentence."""


@dataclass(frozen=True)
class Baseline:
    """What was measured when the baseline was written.

    Attributes
    ----------
    condition : str
        Under which all of it was measured: "simulated telephone speech".
    system : str
        Which pack it was; only for people.
    margin_points : float
        Absolute percentage points by which a word error rate may rise, per set and overall.
    wer_percent : dict of str to float
        Per set, and of all sets pooled under the name ``all``.
    words : dict of str to int
        Words said, per set: figures of another set are not comparable.
    """

    condition: str
    system: str
    margin_points: float
    wer_percent: dict[str, float]
    words: dict[str, int]


@dataclass(frozen=True)
class Verdict:
    """One set, then and now."""

    name: str
    words: int
    then_percent: float
    now_percent: float
    margin_points: float

    @property
    def passed(self) -> bool:
        # Rounding to the baseline's two decimals must not fail a margin of nothing.
        return self.now_percent <= self.then_percent + self.margin_points + 0.005


def baseline_of(results: Sequence[SetResult], condition: str, margin_points: float = DEFAULT_MARGIN) -> Baseline:
    """Return the baseline that these results (of one system) make.

    Raises
    ------
    BaselineError
        If a set has no recordings or is called ``all``.
    """
    rows = _rows(results)
    return Baseline(
        condition,
        results[0].system,
        margin_points,
        {result.name: round(100 * result.errors.rate, 2) for result in rows},
        {result.name: result.errors.words for result in rows},
    )


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write it as JSON.

    Raises
    ------
    BaselineError
        If the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "condition": baseline.condition,
        "system": baseline.system,
        "margin_points": baseline.margin_points,
        "sets": {
            name: {"words": baseline.words[name], "wer_percent": wer} for name, wer in baseline.wer_percent.items()
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise BaselineError(f"The baseline could not be written to {path}: {error.strerror}.") from error


def read_baseline(path: Path) -> Baseline:
    """Read what `write_baseline` wrote.

    Raises
    ------
    BaselineError
        If the file cannot be read or does not hold a baseline.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["format"] != _FORMAT:
            raise BaselineError(f"The baseline {path} is of a format that this version does not read.")
        sets = content["sets"]
        baseline = Baseline(
            str(content["condition"]),
            str(content["system"]),
            float(content["margin_points"]),
            {str(name): float(figures["wer_percent"]) for name, figures in sets.items()},
            {str(name): int(figures["words"]) for name, figures in sets.items()},
        )
    except OSError as error:
        raise BaselineError(f"The baseline {path} cannot be read: {error.strerror}.") from error
    except BaselineError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaselineError(f"The file {path} does not hold a baseline.") from error
    figures = (baseline.margin_points, *baseline.wer_percent.values())
    if _OVERALL not in baseline.wer_percent or not all(math.isfinite(value) and value >= 0 for value in figures):
        raise BaselineError(f"The file {path} does not hold a baseline.")
    return baseline


def judge(
    baseline: Baseline, results: Sequence[SetResult], condition: str, margin_points: float | None = None
) -> list[Verdict]:
    """Compare the results of one system with the baseline, per set and overall.

    Raises
    ------
    BaselineError
        If the results are not of the baseline's sets and condition.
    """
    if condition != baseline.condition:
        raise BaselineError(
            f"The baseline was measured under another condition ({baseline.condition}) than these figures "
            f"({condition})."
        )
    rows = {result.name: result for result in _rows(results)}
    if rows.keys() != baseline.wer_percent.keys():
        wanted = ", ".join(sorted(baseline.wer_percent.keys() - {_OVERALL}))
        raise BaselineError(f"The baseline holds other sets than were measured: it wants {wanted}.")
    for name, result in rows.items():
        if result.errors.words != baseline.words[name] or result.unreadable:
            raise BaselineError(
                f"The set {name} is not the one of the baseline: {result.errors.words} words could be measured, "
                f"the baseline has {baseline.words[name]}."
            )
    margin = baseline.margin_points if margin_points is None else margin_points
    return [
        Verdict(name, result.errors.words, baseline.wer_percent[name], 100 * result.errors.rate, margin)
        for name, result in rows.items()
    ]


def verdict_table(verdicts: Sequence[Verdict], condition: str) -> Table:
    """Return then, now and the verdict per set."""
    table = Table(title=f"Regression gate, WER %, {condition}")
    for heading in ("set", "words", "baseline", "now", "change", "margin", ""):
        table.add_column(heading, justify="left" if heading in ("set", "") else "right", no_wrap=True)
    for one in verdicts:
        change = one.now_percent - one.then_percent
        table.add_row(
            one.name,
            str(one.words),
            f"{one.then_percent:.2f}",
            f"{one.now_percent:.2f}",
            f"{change:+.2f}",
            f"{one.margin_points:.2f}",
            "ok" if one.passed else "WORSE",
        )
    return table


def _rows(results: Sequence[SetResult]) -> list[SetResult]:
    for result in results:
        if result.name == _OVERALL:
            raise BaselineError(
                f"A set may not be called {_OVERALL!r} here: that is what all of them together are."
            )
        if not result.errors.words:
            raise BaselineError(f"Nothing could be measured on the set {result.name}.")
    return [*results, pooled(results)]
