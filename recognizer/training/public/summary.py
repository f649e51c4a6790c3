"""``SUMMARY.md`` beside a gathered manifest: what is in it, from where, and what was left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from recognizer.training.public.gather import Gathered, Row
from recognizer.training.public.sources import COMMITS

NAME = "SUMMARY.md"


def summary(gathered: Gathered, commits: Mapping[str, str] = COMMITS) -> str:
    """Return the page as Markdown; the same recordings give the same page."""
    audio = _table(
        ("corpus", "split", "utterances", "hours", "speakers", "words", "transcripts", "Hz", "licence"),
        _corpora(gathered.rows),
    )
    left_out = _table(
        ("corpus", "left out for", "recordings"),
        ((corpus, reason, f"{count:,}") for (corpus, reason), count in sorted(gathered.left_out.items())),
    )
    states = _table(
        ("source", "commit or checksum", ""),
        ((name, state, _remark(commits.get(name, ""), state)) for name, state in sorted(gathered.states.items())),
    )
    complaints = "".join(f"- {sentence}\n" for sentence in gathered.complaints) or "Nothing.\n"
    return (
        f"# Public speech\n\n{audio}\n## Left out\n\n{left_out}\n"
        f"## Expected, but not there\n\n{complaints}\n## Sources\n\n{states}"
    )


def _remark(expected: str, state: str) -> str:
    if not expected:
        return "never read before"
    return "as in the table" if expected == state else f"the table was made for {expected}"


def _corpora(rows: Sequence[Row]) -> Iterator[tuple[object, ...]]:
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.corpus, row.split, row.licence), []).append(row)
    for (corpus, split, licence), group in [*groups.items(), (("all", "", ""), list(rows))]:
        yield (
            corpus,
            split,
            f"{len(group):,}",
            f"{sum(row.seconds for row in group) / 3600:.2f}",
            f"{len({row.speaker for row in group if row.speaker}):,}",
            f"{sum(len(row.text.split()) for row in group):,}",
            ", ".join(sorted({row.transcript_kind for row in group})),
            ", ".join(str(rate) for rate in sorted({row.sample_rate for row in group})),
            licence,
        )


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
