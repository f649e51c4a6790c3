"""Judges by the signs of life alone how an engine's processes do. Quick to start: containers ask every few seconds.

``python -m console.vitals [--alive] [STAGE]`` is `callwarden health` without the rest of the command line.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from console.signs_of_life import SILENT_AFTER_S, LifeState, Sign, read_signs

STAGE_NAMES: Final = (
    "capture",
    "console",
    "recogniser",
    "redaction",
    "rules",
    "alerts",
    "archive",
    "indexer",
    "audit",
)
_CLOCKS_DIFFER_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Vital:
    """How one process does."""

    name: str
    stage: str
    running: bool
    note: str
    age_s: float | None = None
    waiting: bool = False
    """It lives, and waits for something outside."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of `callwarden health`: one sentence, and one for everything that is wrong."""

    sentence: str
    problems: tuple[str, ...]


def vitals(signs: Sequence[Sign], silent_after_s: float) -> Iterator[Vital]:
    """Yield every process of every stage, and a stage of which there is none."""
    for stage in STAGE_NAMES:
        of_stage = [sign for sign in signs if sign.stage == stage]
        alive = [sign for sign in of_stage if sign.age_s < silent_after_s]
        # A container that was replaced leaves its last sign, which counts while nobody has taken its place.
        for sign in alive or of_stage:
            running, note = judge_sign(sign, silent_after_s)
            waiting = sign.state is LifeState.WAITING and sign.age_s < silent_after_s
            yield Vital(sign.name, stage, running, note, sign.age_s, waiting)
        if not of_stage:
            yield Vital(stage, stage, False, "No such process runs on this data folder.")


def judge_sign(sign: Sign | None, silent_after_s: float) -> tuple[bool, str]:
    """Return whether the process is at work, and what there is to say about it."""
    if sign is None:
        return False, "It is starting."
    if sign.state is LifeState.STOPPED:
        return False, sign.note
    if sign.state is LifeState.STARTING:
        return False, "It is starting."
    if sign.age_s >= silent_after_s:
        return False, f"It has given no sign of life for {duration(sign.age_s)}."
    return sign.state is LifeState.READY, sign.note


def judge(processes: Path, stage: str | None, silent_after_s: float, alive_only: bool) -> Verdict:
    """Judge one stage, or all; on a machine that runs the stage, its own processes only.

    Parameters
    ----------
    processes
        The folder of the signs of life.
    alive_only
        Take a process that waits for something outside for well.
    """
    signs = read_signs(processes)
    if stage is not None:
        here = socket.gethostname()
        of_stage = [sign for sign in signs if sign.stage == stage]
        signs = [sign for sign in of_stage if sign.host == here] or of_stage
    told = [one for one in vitals(signs, silent_after_s) if stage in (None, one.stage)]
    bad = [one for one in told if not one.running and not (alive_only and one.waiting)]
    well = "Every stage is at work." if stage is None else f"The stage {stage} is at work."
    return Verdict(
        well.replace("at work", "alive") if alive_only else well,
        tuple(f"{one.name}: {one.note}" for one in bad),
    )


def clock_warnings(signs: Sequence[Sign]) -> Iterator[str]:
    """One sentence for each machine whose clock differs from that of the data folder's file system."""
    for host, ahead_s in sorted({sign.host: sign.clock_ahead_s for sign in signs}.items()):
        if abs(ahead_s) > _CLOCKS_DIFFER_S:
            yield (
                f"The clock of {host} is {duration(abs(ahead_s))} {'ahead' if ahead_s > 0 else 'behind'}; "
                "set it, or the times of calls are wrong."
            )


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def main(arguments: Sequence[str]) -> int:
    """Print the verdict on the data folder of CALLWARDEN_DATA; return the exit status."""
    alive = "--alive" in arguments
    named = [one for one in arguments if one != "--alive"]
    if len(named) > 1 or (named and named[0] not in STAGE_NAMES):
        print(f"The stages are {', '.join(STAGE_NAMES)}.", file=sys.stderr)  # noqa: T201
        return 2
    processes = Path(os.environ.get("CALLWARDEN_DATA", "~/.local/share/callwarden")).expanduser() / "run/processes"
    silent_after_s = float(os.environ.get("CALLWARDEN_SUPERVISOR__SILENT_AFTER_S", SILENT_AFTER_S))
    verdict = judge(processes, named[0] if named else None, silent_after_s, alive)
    for line in verdict.problems or (verdict.sentence,):
        print(line, file=sys.stderr if verdict.problems else sys.stdout)
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
