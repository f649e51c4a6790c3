"""Templates: the environment, and how times, names and numbers are written."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

if TYPE_CHECKING:
    from console.web.access import Visit

STATIC: Final = Path(__file__).parent / "static"
_TEMPLATES: Final = Path(__file__).parent / "templates"

_WORDS: Final = {
    "ssn": "SSN",
    "sip": "SIP",
    "siprec": "SIPREC",
    "import": "imported",
    "log_in": "log-in",
    "log_out": "log-out",
}


def page(visit: Visit, template: str, status: int = 200, **context: Any) -> Response:
    session = visit.session
    text = (
        _environment(visit.services.settings.timezone)
        .get_template(template)
        .render(
            user=session.user if session else None,
            csrf=session.csrf if session else "",
            path=visit.request.url.path,
            site=visit.services.settings.site,
            now_ms=visit.services.clock.now_ms(),
            **context,
        )
    )
    return HTMLResponse(text, status)


@cache
def _environment(timezone: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = ZoneInfo(timezone)
    environment.filters |= {
        "when": lambda ms: when(ms, zone),
        "iso": iso,
        "clock": call_clock,
        "duration": duration,
        "words": words,
        "party": party,
        "thousands": lambda number: f"{number:,}".replace(",", "\u202f"),
        "short": lambda text, most=120: text if len(text) <= most else text[: most - 1].rstrip() + "…",
    }
    environment.globals |= {"static": static_url, "zone": timezone}
    return environment


@cache
def static_url(name: str) -> str:
    """Return the address of a static file, which changes with its content so that browsers may keep it."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={digest}"


def when(ms: int | None, zone: ZoneInfo) -> Markup:
    """A time of day as a <time> element; a dash where there is none."""
    if not ms:
        return Markup('<span class="quiet">–</span>')
    local = datetime.fromtimestamp(ms / 1000, zone)
    return Markup('<time datetime="{}">{}</time>').format(iso(ms), f"{local.day} {local:%b %Y, %H:%M:%S}")


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def call_clock(ms: int) -> str:
    """Call time: minutes and seconds."""
    seconds = max(ms, 0) // 1000
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def duration(ms: int) -> str:
    seconds = round(ms / 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"


def words(name: object) -> str:
    """A value of one of our enumerations as words."""
    text = str(getattr(name, "value", name))
    return _WORDS.get(text, text.replace("_", " "))


def party(uri: str) -> str:
    """The user part of a SIP address, for people."""
    text = uri.partition("?")[0].partition(";")[0]
    for scheme in ("sips:", "sip:", "tel:"):
        text = text.removeprefix(scheme)
    return text.partition("@")[0] or text


def marked(text: str, marks: tuple[tuple[int, int], ...]) -> Markup:
    """`text` escaped, with <mark> around places that matched."""
    parts, at = [], 0
    for start, end in marks:
        parts.append(escape(text[at:start]) + Markup("<mark>{}</mark>").format(text[start:end]))
        at = end
    parts.append(escape(text[at:]))
    return Markup("").join(parts)
