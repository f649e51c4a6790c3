"""The officer's search page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup
from starlette.responses import Response

from console.web.access import Visit
from console.web.render import marked, words
from console.web.search_form import SearchForm
from console.web.transcript_view import speaker_names
from events.audit_entry import Action, Outcome
from indexer.index import BadQuery, CallSummary, Facets, SearchHit, SearchPage

_NOTHING: Final = SearchPage((), 0)
_MOST_CHOICES: Final = 12


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet as a link that puts the filter in or takes it out."""

    label: str
    count: int | None
    url: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A highlight, ready to be shown."""

    speaker: str
    role: str
    start_ms: int
    text: Markup
    spoken: bool


def search(visit: Visit) -> Response:
    form, problem, page = SearchForm(()), "", _NOTHING
    settings = visit.services.settings
    try:
        form = SearchForm.read(visit.request.query_params.multi_items())
        page = visit.services.index.search(form.query(ZoneInfo(settings.timezone), settings.page_size))
    except BadQuery as error:
        problem = str(error)
    outcome = Outcome.FAILED if problem else Outcome.ALLOWED
    visit.record(Action.SEARCH, "index", outcome, detail=form.sealed_text())
    return visit.page(
        "search.html",
        400 if problem else 200,
        form=form,
        problem=problem,
        page=page,
        titles={hit.summary.call: title_of(hit.summary) for hit in page.hits},
        lines={hit.summary.call: lines_of(hit) for hit in page.hits},
        facets=facets_of(form, page.facets),
        next_url=form.url(cursor=page.next_cursor) if page.next_cursor else "",
        first_url=form.url() if form.cursor else "",
        chips=[(chip_label(name, value), form.toggled(name, value)) for name, value in form.filters],
    )


def _names_of(summary: CallSummary) -> dict[int, str]:
    return speaker_names((leg.leg, leg.role, leg.speaker_name) for leg in summary.legs)


def title_of(summary: CallSummary) -> str:
    return " and ".join(_names_of(summary).values()) or summary.external_id or "Call"


def lines_of(hit: SearchHit) -> list[Line]:
    """What was said, or, only where the words match nowhere, the facts about the call that do."""
    names = _names_of(hit.summary)
    said = [light for light in hit.highlights if light.segment]
    return [
        Line(
            names.get(light.leg or 0, words(light.role or "")) if light.segment else "about the call",
            light.role.value if light.role else "unknown",
            light.start_ms,
            marked(light.text, light.marks),
            light.segment is not None,
        )
        for light in said or hit.highlights
    ]


def facets_of(form: SearchForm, facets: Facets) -> list[tuple[str, list[Choice]]]:
    """Return (title, choices) of every facet that has any; a chosen value is shown even with no call left."""
    groups: list[tuple[str, str, list[tuple[str, int]]]] = [
        ("Severity", "severity", [(value.value, n) for value, n in facets.severities]),
        ("Rule", "rule", [(value, n) for value, n in facets.rules]),
        ("Hidden data", "entity", [(value.value, n) for value, n in facets.entities]),
        ("State", "state", [(value.value, n) for value, n in facets.states]),
        ("Source", "source", [(value.value, n) for value, n in facets.sources]),
    ]
    shown = []
    for title, name, counted in groups:
        known = {value for value, _ in counted}
        choices = [
            Choice(value if name == "rule" else words(value), n, form.toggled(name, value), form.has(name, value))
            for value, n in counted[:_MOST_CHOICES]
        ]
        choices += [
            Choice(value if name == "rule" else words(value), None, form.toggled(name, value), True)
            for value in form.many(name)
            if value not in known
        ]
        if choices:
            shown.append((title, choices))
    return shown


def chip_label(name: str, value: str) -> str:
    match name:
        case "from":
            return f"from {value}"
        case "to":
            return f"until {value}"
        case "shortest":
            return f"at least {value} min"
        case "longest":
            return f"at most {value} min"
        case "findings":
            return "with findings" if value == "yes" else "without findings"
        case "by":
            return f"said by {value}"
        case "rule":
            return value
        case _:
            return words(value)
