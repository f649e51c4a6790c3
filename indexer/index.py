"""The CallIndex protocol: what is stored, asked and answered.

Laws (tests/contracts/call_index_laws.py runs them on every driver):

1. `put` stores a document whole. Putting it again changes nothing; an older revision never replaces a newer
   one, nor does another document of the same revision. A writer that says which revision its document was
   made from (`onto`) is refused as stale if the index holds another one, so that two writers cannot undo each
   other.
2. What was put is found by the next `search`, from any process.
3. A word or phrase of a text query is true of *one* segment, and with `spoken_by` (or ``agent:`` in the text) of
   one segment of that role. AND, OR and NOT join such conditions over the call. Words are found in all their
   forms; ``beginning*`` finds the words whose stem begins so, and a driver may add those that begin so to the
   letter (Elasticsearch does; in SQLite ``happy*`` means "happi..." and misses "happyland").
4. Filters are joined by AND; several values within one filter by OR.
5. Pages follow each other by cursor without a hole or a double as long as nothing is put in between. Calls of
   equal rank or start are in the order of their ids. How much better one call answers than another is the
   driver's own opinion, but of two calls equally long, of which one says some of what is looked for more often
   and nothing of it less often, that one comes first.
6. `forget` removes a call from every answer at once, and its words from every file of the index before it returns;
   no later `put` brings it back, whatever process is putting it meanwhile. (Elasticsearch takes some 30 s for the
   files. A driver may be set to leave them to later.)
7. A query that makes no sense raises BadQuery with one sentence; nothing a person types does anything else.
8. `expire` lets go of calls that are older than asked, and of no others. It keeps no tombstone, because that is
   tidying up and not erasure: whoever puts calls from an old source leaves out those that are too old. A driver
   may keep a call for up to a month longer (it says so in `status`).
9. `rebuild` writes every document anew under the mapping of this program; meanwhile searches find what they found
   before, and no put and no `forget` that happens meanwhile is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from events.call_document import CallDocument, CallState
from events.errors import CallwardenError
from events.finding import Severity
from events.identity import CallId, RecordId, Role
from events.lifecycle import CallSourceKind
from events.transcript import PiiKind

MOST_PER_PAGE: Final = 200
MOST_TEXT_LENGTH: Final = 1_000


class BadQuery(CallwardenError):
    """The query makes no sense. The text is one sentence for the person who asked; it quotes nothing."""


class PutOutcome(StrEnum):
    STORED = "stored"
    """The index now holds this document (or held it already)."""
    STALE = "stale"
    """The index holds another document than this one was made from: get it, fold again, put again."""
    FORGOTTEN = "forgotten"
    """The call was forgotten; the document was not stored and never will be."""
    REFUSED = "refused"
    """The index cannot take this very document, and trying again does not help (Elasticsearch: a mapping that does
    not fit); the others of the same `put_all` are not touched by that."""


class SearchOrder(StrEnum):
    RELEVANCE = "relevance"
    """Best match first; newest first where there is no text to match."""
    NEWEST = "newest"


@dataclass(frozen=True, slots=True)
class CallQuery:
    """What somebody looks for.

    `text` is what a person types: words, ``"phrases"``, ``prefix*``, AND, OR, NOT (or ``-word``), parentheses,
    and ``agent:word`` or ``customer:"a phrase"``; words side by side are joined by AND.
    """

    text: str = ""
    spoken_by: Role | None = None
    """Every word and phrase of `text` was said by this role; without text: this role said something."""
    rules: tuple[str, ...] = ()
    """Rule ids, any of which made a finding."""
    severities: tuple[Severity, ...] = ()
    """Any finding has one of these."""
    has_findings: bool | None = None
    started_from_ms: int | None = None
    """UTC epoch milliseconds, inclusive."""
    started_before_ms: int | None = None
    """UTC epoch milliseconds, exclusive."""
    states: tuple[CallState, ...] = ()
    shortest_ms: int | None = None
    """Duration, inclusive."""
    longest_ms: int | None = None
    """Duration, inclusive."""
    entities: tuple[PiiKind, ...] = ()
    """Kinds of personal data, any of which was hidden in the call."""
    sources: tuple[CallSourceKind, ...] = ()
    order: SearchOrder = SearchOrder.RELEVANCE
    page_size: int = 20
    cursor: str = ""
    """`SearchPage.next_cursor` of the page before, empty for the first page."""

    def __post_init__(self) -> None:
        if not 1 <= self.page_size <= MOST_PER_PAGE:
            raise BadQuery(f"A page holds between 1 and {MOST_PER_PAGE} calls.")
        if len(self.text) > MOST_TEXT_LENGTH:
            raise BadQuery(f"A search text has at most {MOST_TEXT_LENGTH} characters.")
        if (
            self.started_from_ms is not None
            and self.started_before_ms is not None
            and self.started_from_ms >= self.started_before_ms
        ):
            raise BadQuery("The search's first day lies behind its last day.")
        if self.shortest_ms is not None and self.longest_ms is not None and self.shortest_ms > self.longest_ms:
            raise BadQuery("The search's shortest duration is longer than its longest.")


@dataclass(frozen=True, slots=True)
class Highlight:
    """One segment (or, with `segment` None, one fact about the call such as a speaker's name) that matched.

    Plain text and places in it, never markup: whoever shows it escapes the text and draws the marks.
    """

    text: str
    marks: tuple[tuple[int, int], ...]
    """(from, to) offsets into `text` in characters, ascending, not overlapping."""
    segment: RecordId | None = None
    leg: int | None = None
    role: Role | None = None
    start_ms: int = 0
    """Call time of the first marked word."""


@dataclass(frozen=True, slots=True)
class SummaryLeg:
    leg: int
    role: Role
    speaker_name: str


@dataclass(frozen=True, slots=True)
class CallSummary:
    """What a list of calls shows of one."""

    call: CallId
    revision: int
    state: CallState
    started_at_ms: int
    """UTC epoch milliseconds; 0 where it is not known yet."""
    duration_ms: int
    source: CallSourceKind | None
    from_uri: str
    to_uri: str
    external_id: str
    legs: tuple[SummaryLeg, ...]
    rules: tuple[str, ...]
    """Ids of rules with findings, worst first."""
    worst: Severity | None
    findings: int
    alerts: int
    open_alerts: int
    """Alerts that nobody acknowledged."""
    entities: tuple[PiiKind, ...]
    opening: str
    """The first words of the call."""


@dataclass(frozen=True, slots=True)
class SearchHit:
    summary: CallSummary
    score: float
    """Higher is better; comparable within one search only; 0 without text."""
    highlights: tuple[Highlight, ...] = ()
    """The first few matching segments in call order."""


@dataclass(frozen=True, slots=True)
class Facets:
    """How many of *all* calls found (not only this page's) have each value; most frequent first."""

    rules: tuple[tuple[str, int], ...] = ()
    severities: tuple[tuple[Severity, int], ...] = ()
    states: tuple[tuple[CallState, int], ...] = ()
    sources: tuple[tuple[CallSourceKind, int], ...] = ()
    entities: tuple[tuple[PiiKind, int], ...] = ()
    spoken_by: tuple[tuple[Role, int], ...] = ()


@dataclass(frozen=True, slots=True)
class SearchPage:
    hits: tuple[SearchHit, ...]
    total: int
    next_cursor: str | None = None
    """For `CallQuery.cursor`; None behind the last page."""
    facets: Facets = field(default_factory=Facets)


@dataclass(frozen=True, slots=True)
class IndexPart:
    """A file or server-side index of its own."""

    name: str
    calls: int
    size_bytes: int
    mapping: str
    """Version of its tables or mapping."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an operator wants to know of an index; for people, so texts are whole words."""

    driver: str
    where: str
    """Folder or address, without credentials."""
    mapping: str
    """The version that this program writes."""
    forgotten: int
    """Tombstones."""
    parts: tuple[IndexPart, ...]

    @property
    def calls(self) -> int:
        return sum(part.calls for part in self.parts)

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.parts)


Progress = Callable[[int, int], None]
"""Told (done, of how many) while something long goes on."""


class CallIndex(Protocol):
    """Searchable documents. One object per process; safe to use from several threads."""

    def put(self, document: CallDocument, onto: int | None = None) -> PutOutcome:
        """Store `document` durably.

        Parameters
        ----------
        document
            The whole call.
        onto
            The revision that the index must hold now, 0 for none at all; None where any older one will do.

        Raises
        ------
        RetryLater
            The index cannot take it now (disk full, server away).
        """
        ...

    def put_all(self, documents: Sequence[tuple[CallDocument, int | None]]) -> list[PutOutcome]:
        """Put (document, onto) of different calls; return their outcomes in that order, each durable.

        Where this raises RetryLater, some may have been put (Elasticsearch) or none (SQLite); putting all of them
        again, with the same `onto`, gives the outcomes that were missed.
        """
        ...

    def get(self, call: CallId) -> CallDocument | None:
        """Return the newest document of the call; None when there is none or it was forgotten."""
        ...

    def search(self, query: CallQuery) -> SearchPage:
        """Return one page. Raises BadQuery."""
        ...

    def forget(self, call: CallId) -> None:
        """Remove the call for good, and keep a tombstone so that a late write cannot bring it back."""
        ...

    def is_forgotten(self, call: CallId) -> bool: ...

    def expire(self, before_ms: int) -> int:
        """Let go of calls that started before `before_ms` (UTC epoch milliseconds).

        Takes a bounded time: returns how many calls went, and is called again while that is not 0.
        """
        ...

    def rebuild(self, progress: Progress) -> int:
        """Write every document anew while others search and put; return how many. Raises RetryLater."""
        ...

    def status(self) -> IndexStatus: ...

    def close(self) -> None: ...
