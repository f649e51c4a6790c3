"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from recognizer.evaluation.measurement import SetResult


def as_table(results: Sequence[SetResult], condition: str) -> Table:
    """Return a table of the results, titled with the `condition` they were measured under."""
    table = Table(title=f"Word errors, {condition}")
    table.add_column("set", no_wrap=True)
    table.add_column("system", no_wrap=True)
    for heading in ("recordings", "words", "sub", "del", "ins", "WER %", "real-time factor"):
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
            f"{100 * errors.rate:.1f}" if result.recordings else "-",
            f"{result.real_time_factor:.4f}" if result.recordings else "-",
        )
    return table


def print_table(table: Table) -> None:
    """Print to standard output, wide enough for every column where that is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def as_json(results: Sequence[SetResult], condition: str) -> dict[str, Any]:
    """Return what ``--json`` writes: ``wer`` is errors per word (0.4 is 40 %), ``null`` where nothing was measured."""
    systems: dict[str, dict[str, Any]] = {}
    for result in results:
        errors = result.errors
        systems.setdefault(result.system, {})[result.name] = {
            "recordings": result.recordings,
            "unreadable": result.unreadable,
            "words": errors.words,
            "substitutions": errors.substitutions,
            "deletions": errors.deletions,
            "insertions": errors.insertions,
            "wer": round(errors.rate, 5) if result.recordings else None,
            "real_time_factor": round(result.real_time_factor, 5) if result.recordings else None,
            "audio_s": round(result.audio_s, 2),
            "condition": condition,
        }
    ours, *peers = systems
    return {
        "condition": condition,
        "system": ours,
        "sets": systems[ours],
        "peers": {peer: systems[peer] for peer in peers},
    }
