"""Calls as text in a terminal: hits of a search, one call's document."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from rich.console import Console
from rich.table import Table
from rich.text import Text

from events.call_document import CallDocument
from events.finding import Severity
from events.identity import Role
from events.transcript import Word
from indexer.index import Highlight, SearchPage
from indexer.speaker_parts import SpeakerPart, parts_of
from recognizer.reading_text.reading import reading_tokens

ROLE_STYLES = {Role.AGENT: "cyan", Role.CUSTOMER: "green", Role.MIXED: "yellow", Role.UNKNOWN: "white"}
SPEAKER_STYLES = ("magenta", "yellow")
SEVERITY_STYLES = {
    Severity.HIGH: "bold red",
    Severity.MEDIUM: "bold yellow",
    Severity.LOW: "yellow",
    Severity.INFO: "blue",
}


def moment(at_ms: int) -> str:
    """UTC epoch milliseconds as people read them."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at_ms else "unknown"


def clock(ms: int) -> str:
    """Call time as m:ss."""
    return f"{ms // 60_000}:{ms // 1000 % 60:02d}"


def words_as_text(words: tuple[Word, ...], style: str = "") -> Text:
    """Words of a segment, placeholders marked."""
    text = Text(style=style)
    for number, word in enumerate(words):
        if number:
            text.append(" ")
        text.append(word.text, style="reverse" if word.text.startswith("[") else "")
    return text


def reading_as_text(words: tuple[Word, ...]) -> Text:
    """A segment's words for reading, placeholders marked."""
    text = Text()
    for number, token in enumerate(reading_tokens(words)):
        if number:
            text.append(" ")
        text.append(token.text, style="reverse" if token.text.startswith("[") else "")
        text.append(token.shown[len(token.text) :])
    return text


def _style_of(part: SpeakerPart) -> str:
    return ROLE_STYLES[part.segment.role] if part.speaker is None else SPEAKER_STYLES[part.speaker % 2]


def _highlight(found: Highlight) -> Text:
    text = Text()
    if found.role is not None:
        text.append(f"  {clock(found.start_ms):>6}  {found.role.value:9} ", style=ROLE_STYLES[found.role])
    else:
        text.append("  ")
    ends = [0, *(place for mark in found.marks for place in mark), len(found.text)]
    for number, (start, end) in enumerate(pairwise(ends)):
        text.append(found.text[start:end], style="bold underline" if number % 2 else "")
    return text


def print_hits(console: Console, page: SearchPage) -> None:
    """Print a page of search hits."""
    if not page.hits:
        console.print("No call was found.")
        return
    for hit in page.hits:
        summary = hit.summary
        line = Text(f"{summary.call}  {moment(summary.started_at_ms)}  {clock(summary.duration_ms)}")
        if summary.worst is not None:
            line.append(f"  {summary.findings} finding{'s' if summary.findings > 1 else ''}: ")
            line.append(", ".join(summary.rules), style=SEVERITY_STYLES[summary.worst])
        console.print(line, soft_wrap=True)
        for found in hit.highlights:
            console.print(_highlight(found), soft_wrap=True)
    more = "" if page.next_cursor is None else f" ({len(page.hits)} shown)"
    console.print(f"{page.total} call{'' if page.total == 1 else 's'} found{more}.", style="dim", highlight=False)


def print_call(console: Console, document: CallDocument, as_spoken: bool = False) -> None:
    """Print a call's document, its words for reading or as they were spoken."""
    console.print(f"Call {document.call}", style="bold", highlight=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("state", document.state.value)
    facts.add_row("started", moment(document.started_at_ms))
    facts.add_row("duration", clock(document.duration_ms))
    facts.add_row("source", document.source.value if document.source else "unknown")
    facts.add_row("recording", "bleeped, encrypted" if document.recording else "not kept yet")
    for leg in document.legs:
        guessed = "" if leg.role_verified else " (role not verified)"
        facts.add_row(
            f"leg {leg.leg}", Text(f"{leg.role.value} {leg.speaker_name}{guessed}", ROLE_STYLES[leg.role])
        )
    if document.speaker_turns:
        facts.add_row("speakers", "A and B, told apart by voice; which of them is the agent is not known")
    console.print(facts)
    console.print("\nTranscript", style="bold")
    transcript = Table.grid(padding=(0, 2))
    for part in parts_of(document):
        transcript.add_row(
            clock(part.start_ms),
            Text(part.name or part.segment.role.value, _style_of(part)),
            words_as_text(part.words) if as_spoken else reading_as_text(part.words),
        )
    console.print(transcript if document.segments else "Nothing was said.")
    console.print("\nFindings", style="bold")
    findings = Table.grid(padding=(0, 2))
    for finding in document.findings:
        findings.add_row(
            clock(finding.at_ms),
            Text(finding.severity.value, SEVERITY_STYLES[finding.severity]),
            finding.rule,
            finding.why,
        )
    console.print(findings if document.findings else "None.")
    spans = [span for segment in document.segments for span in segment.spans]
    console.print("\nRedactions", style="bold")
    redactions = Table.grid(padding=(0, 2))
    for span in sorted(spans, key=lambda span: span.start_ms):
        redactions.add_row(
            f"{clock(span.start_ms)}-{clock(span.end_ms)}", f"leg {span.leg}", span.kind.placeholder
        )
    console.print(redactions if spans else "None.", markup=False)
    if document.alerts:
        console.print("\nAlerts", style="bold")
        answered = {answer.alert: answer.by for answer in document.answers}
        for alert in document.alerts:
            who = f"acknowledged by {answered[alert.id]}" if alert.id in answered else "open"
            console.print(f"{clock(alert.at_ms)}  {alert.title}  ({who})", markup=False, highlight=False)
