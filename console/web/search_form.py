"""The search page's address: parsed strictly into a `CallQuery`, and written again with changes for links."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from events.call_document import CallState
from events.finding import Severity
from events.identity import Role
from events.lifecycle import CallSourceKind
from events.transcript import PiiKind
from indexer.index import BadQuery, CallQuery, SearchOrder

MANY: Final = ("rule", "severity", "state", "entity", "source")
ONE: Final = ("q", "by", "findings", "from", "to", "shortest", "longest", "order")
_MOST_VALUES: Final = 20

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class SearchForm:
    """What stands in the form, as text; `values` holds no empty ones."""

    values: tuple[tuple[str, str], ...]
    cursor: str = ""

    @classmethod
    def read(cls, items: list[tuple[str, str]]) -> SearchForm:
        """Take known fields of a query string. Raises BadQuery when there are too many."""
        values = list(dict.fromkeys((k, v.strip()) for k, v in items if k in (*MANY, *ONE) and v.strip()))
        if len(values) > _MOST_VALUES:
            raise BadQuery("The search has too many filters.")
        cursor = next((value for name, value in items if name == "cursor"), "")
        return cls(tuple(values), cursor[:500])

    def one(self, name: str) -> str:
        return next((value for key, value in self.values if key == name), "")

    def many(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self.values if key == name)

    @property
    def is_empty(self) -> bool:
        return not self.values

    @property
    def filters(self) -> list[tuple[str, str]]:
        """Everything but the words and the order."""
        return [(name, value) for name, value in self.values if name not in ("q", "order")]

    def url(self, *, cursor: str = "") -> str:
        return _url([*self.values, ("cursor", cursor)])

    def toggled(self, name: str, value: str) -> str:
        """Address of the same search with one value of a filter put in or taken out."""
        pair = (name, value)
        if pair in self.values:
            return _url([item for item in self.values if item != pair])
        kept = self.values if name in MANY else tuple(item for item in self.values if item[0] != name)
        return _url([*kept, pair])

    def has(self, name: str, value: str) -> bool:
        return (name, value) in self.values

    def sealed_text(self) -> str:
        """What is recorded, sealed, of a search."""
        return json.dumps({"fields": self.values, "cursor": bool(self.cursor)}, ensure_ascii=False)

    def query(self, zone: ZoneInfo, page_size: int) -> CallQuery:
        """Raises BadQuery."""
        before = _day(self.one("to"), zone, 1)
        findings = self.one("findings")
        if findings not in ("", "yes", "no"):
            raise BadQuery("The filter for findings is yes or no.")
        return CallQuery(
            text=self.one("q"),
            spoken_by=_one_of(Role, self.one("by"), "speaker") if self.one("by") else None,
            rules=self.many("rule"),
            severities=tuple(_one_of(Severity, value, "severity") for value in self.many("severity")),
            has_findings={"yes": True, "no": False}.get(findings),
            started_from_ms=_day(self.one("from"), zone, 0),
            started_before_ms=before,
            states=tuple(_one_of(CallState, value, "state") for value in self.many("state")),
            shortest_ms=_minutes(self.one("shortest")),
            longest_ms=_minutes(self.one("longest")),
            entities=tuple(_one_of(PiiKind, value, "kind of hidden data") for value in self.many("entity")),
            sources=tuple(_one_of(CallSourceKind, value, "source") for value in self.many("source")),
            order=_one_of(SearchOrder, self.one("order") or "relevance", "order"),
            page_size=page_size,
            cursor=self.cursor,
        )


def _url(items: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    used = [(name, value) for name, value in items if value]
    return "/search?" + urlencode(used) if used else "/search"


def _one_of(kind: type[E], value: str, what: str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise BadQuery(f"There is no such {what}.") from None


def _day(text: str, zone: ZoneInfo, days_later: int) -> int | None:
    """Midnight of a day in the site's time zone as UTC epoch milliseconds."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text) + timedelta(days=days_later)
        return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadQuery("A day is written as year-month-day.") from None


def _minutes(text: str) -> int | None:
    if not text:
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= 10_000:
        raise BadQuery("A duration is a number of minutes from 0 to 10000.")
    return int(minutes * 60_000)
