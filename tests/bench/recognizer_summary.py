"""One readable summary of all that the recogniser's benchmarks found: goals first, then a table a question.

``python -m tests.bench.recognizer_summary`` prints it again from what lies in build/bench and writes
build/bench/recognizer.md and build/bench/recognizer-summary.json. A figure that is missing, or is no number, is
named there in a sentence, and the exit status is 1: nothing is left out silently.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figures, MissingFigureError
from tests.bench.recognizer_more_sections import SECTIONS
from tests.bench.recognizer_sections import SPEECH, Section

FOLDER = Path("build/bench")
RUN = "recognizer-run.json"

MOST_WER = {"librispeech-422-777": 0.30, "librispeech-test-other": 0.48, "speechocean-children": 0.36}
"""Goals of the sets that have one."""
OF_PEER, OF_KALDI, LEGS, WORD_MS, FINAL_MS = 0.5, 1.0, 20, 300, 400


@dataclass(frozen=True)
class Goal:
    """Something that has to hold; `found` and `limit` in one unit."""

    what: str
    found: float
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.found <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        shown = (f"{value:.4g}{self.unit}" for value in (self.found, self.limit))
        return (self.what, *shown, "yes" if self.met else "**no**")


@dataclass
class Summary:
    """What is to be shown.

    Attributes
    ----------
    run : mapping
        What :mod:`tests.bench.recognizer_report` noted: per benchmark its command, its seconds, when it began.
    goals, parts : lists
        `parts` are (benchmark, its sections).
    missing : list of str
        Sentences about figures that should be there.
    not_measured : list of str
        Sentences about what was not run, and why.
    """

    run: Mapping[str, Any]
    goals: list[Goal] = field(default_factory=list)
    parts: list[tuple[str, list[Section]]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)


def summarised(folder: Path) -> Summary:
    """Read the run's note and the figures of every benchmark that it says was measured.

    Raises
    ------
    MissingFigureError
        There is no note of a run.
    """
    run = Figures.read(RUN, folder / RUN)
    summary = Summary(run.value)
    all_found: dict[str, Figures] = {}
    for name, note in run.items("benches"):
        if note.has("reason"):
            summary.not_measured.append(f"{name}: {note.text('reason')}")
            continue
        try:
            all_found[name] = Figures.read(name, folder / f"{name}.json")
            summary.parts.append((name, SECTIONS[name](all_found[name])))
        except MissingFigureError as error:
            summary.missing.append(str(error))
    for name, makes in (("recognizer", _word_goals), ("search", _search_goals), ("streaming", _live_goals),
                        ("pack", _pack_goals)):  # fmt: skip
        try:
            if name in all_found:
                summary.goals += makes(all_found[name])
        except MissingFigureError as error:
            summary.missing += [str(error)] * (str(error) not in summary.missing)
    return summary


def _word_goals(found: Figures) -> Iterator[Goal]:
    part = found.at("test")
    peers = list(part.items("peers"))
    for name, own in part.items("sets"):
        if name in MOST_WER:
            yield Goal(f"WER, {name}", 100 * own.number("wer"), 100 * MOST_WER[name], " %")
        for peer, theirs in peers:
            yield Goal(f"WER of {peer}'s, {name}", own.number("wer") / theirs.number(name, "wer"), OF_PEER)


def _search_goals(found: Figures) -> Iterator[Goal]:
    for row in found.rows("against_kaldi"):
        what = f"search time of FasterDecoder's, beam {row.number('beam'):g}"
        yield Goal(what, row.number("ratio_to_faster_decoder"), OF_KALDI)
        yield Goal(f"sentences with another best cost, beam {row.number('beam'):g}",
                   row.number("recordings_with_other_cost"), 0)  # fmt: skip


def _live_goals(found: Figures) -> Iterator[Goal]:
    for row in found.rows("live"):
        if row.number("legs") < LEGS or row.text("what") not in ("shipped, int8", "shipped, float32"):
            continue
        what = f"{row.number('legs'):.0f} legs on a core, {row.text('what').removeprefix('shipped, ')}"
        yield Goal(f"{what}: of the core", 100 * row.number("use"), 100, " %")
        yield Goal(f"{what}: word, P50", row.number("word", "p50"), WORD_MS, " ms")
        yield Goal(f"{what}: final, P95", row.number("final", "p95"), FINAL_MS, " ms")


def _pack_goals(found: Figures) -> Iterator[Goal]:
    yield Goal("size of the pack", found.number("sizes", "all") / 1e6, found.number("most_bytes") / 1e6, " MB")


def as_markdown(summary: Summary) -> str:
    """The summary as a document."""
    run = Figures(RUN, summary.run)
    lines = ["# The recogniser, measured", "", *_wrapped(_heading(run)), ""]
    if summary.goals:
        lines += [
            "## Goals",
            "",
            *_table(("what", "measured", "at most", "met"), [g.row() for g in summary.goals]),
            "",
        ]
    for name, sections in summary.parts:
        note = run.at("benches", name)
        told = f"`{note.text('command')}`, {note.number('seconds'):.0f} s, begun {note.text('began')}, "
        told += f"when {note.number('load'):.1f} processes had been running on average"
        if note.number("status"):
            told += f"; it ended with status {note.number('status'):.0f}"
        for i, section in enumerate(sections):
            lines += [f"## {section.title}", ""] + ([f"{told}."] if i == 0 else []) + [""] * (i == 0)
            lines += [*_table(section.headings, section.rows), ""]
            lines += [*_wrapped(section.note), ""] if section.note else []
    for title, sentences in (("Missing", summary.missing), ("Not measured", summary.not_measured)):
        if sentences:
            lines += [f"## {title}", "", *(f"- {sentence}" for sentence in sentences), ""]
    return "\n".join(lines)


def _heading(run: Figures) -> str:
    machine = run.at("machine")
    quick = (
        "The quick form: few sentences, single rounds; for a look, not for quoting. " if run.flag("quick") else ""
    )
    return (
        f"{quick}`{run.text('command')}` on {machine.number('cores'):.0f} cores of {machine.text('processor')}, "
        f"{machine.number('memory_gb'):.0f} GB, Python {machine.text('python')}, one benchmark after the other, "
        f"{run.number('seconds') / 60:.0f} minutes in all. All speech is {SPEECH}. "
        f"Sets: {', '.join(each.text() for each in run.rows('sets'))}. Source: {run.text('commit')}."
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text[0].upper() + text[1:], 120, break_long_words=False, break_on_hyphens=False)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    every = [headings, ["---"] * len(headings), *rows]
    return [f"| {' | '.join(row)} |" for row in every]


def print_summary(summary: Summary) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=160)
    goals = Section("Goals", ("what", "measured", "at most", "met"), [goal.row() for goal in summary.goals])
    for section in [goals] * bool(summary.goals) + [one for _, sections in summary.parts for one in sections]:
        table = Table(*section.headings, title=section.title, caption=section.note or None, caption_justify="left")
        for row in section.rows:
            table.add_row(*(cell.replace("**", "") for cell in row))
        console.print(table)
    for sentence in (*summary.missing, *summary.not_measured):
        console.print(sentence, markup=False)


def write(summary: Summary, document: str, folder: Path) -> None:
    (folder / "recognizer.md").write_text(document, "utf-8")
    told = {
        "run": summary.run,
        "goals": [{**asdict(goal), "met": goal.met} for goal in summary.goals],
        "sections": {name: [asdict(section) for section in sections] for name, sections in summary.parts},
        "missing": summary.missing,
        "not_measured": summary.not_measured,
    }
    (folder / "recognizer-summary.json").write_text(json.dumps(told, indent=2) + "\n", "utf-8")


def main(folder: Path = FOLDER) -> int:
    try:
        summary = summarised(folder)
        document = as_markdown(summary)
    except MissingFigureError as error:
        print(f"There is no summary: {error} Run make bench-recognizer first.")
        return 1
    print_summary(summary)
    write(summary, document, folder)
    return int(bool(summary.missing))


if __name__ == "__main__":
    raise SystemExit(main())
