"""The recording, in pieces: every piece that leaves is an audit entry with its range of call time."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from console.web.access import PageRefused, Visit
from console.web.call_page import the_call
from console.web.render import call_clock
from console.web.services import RecordingUnavailable
from events.audit_entry import Action, Outcome

_MOST_BYTES: Final = 1 << 20
"""Of one answer to a range request; browsers ask again for the rest."""
_HEADER_BYTES: Final = 44
_RANGE: Final = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


def recording(visit: Visit) -> Response:
    document = the_call(visit, Action.PLAY)
    if document.recording is None:
        raise PageRefused(404, "The recording of this call is not ready.", "not_found")
    try:
        opened = visit.services.recordings.open(document.call)
        asked = visit.request.headers.get("range")
        first, last = piece_of(asked, opened.size)
        body = opened.read(first, last - first + 1)
    except RecordingUnavailable as error:
        visit.record(Action.PLAY, document.call, Outcome.FAILED)
        raise PageRefused(410, str(error), "recording_unavailable") from None
    sent = [_time(at, opened.size, document.recording.duration_ms) for at in (first, last + 1)]
    visit.record(
        Action.PLAY,
        document.call,
        reason=f"sent {call_clock(sent[0])} to {call_clock(sent[1])} (bytes {first}-{last})",
    )
    headers = {"Accept-Ranges": "bytes", "Content-Disposition": f'inline; filename="call-{document.call}.wav"'}
    if asked is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{opened.size}"
    return Response(body, 200 if asked is None else 206, headers, "audio/wav")


def piece_of(header: str | None, size: int) -> tuple[int, int]:
    """Return first and last byte (RFC 9110, 14.1.2) that are answered with; a long range is cut short.

    Raises
    ------
    PageRefused
        416: the range is malformed, holds several parts, or lies behind the end.
    """
    if header is None:
        return 0, size - 1
    match = _RANGE.fullmatch(header.strip())
    start, end = match.groups() if match else ("", "")
    if not start and not end:
        raise PageRefused(416, "A range is written bytes=first-last, one at a time.", "bad_range")
    if start:
        first = int(start)
        last = min(int(end) if end else size - 1, size - 1)
    else:
        first, last = max(size - int(end), 0), size - 1
    if first > last or first >= size:
        raise PageRefused(416, "The range lies behind the end of the recording.", "bad_range")
    return first, min(last, first + _MOST_BYTES - 1)


def _time(at: int, size: int, duration_ms: int) -> int:
    """Call time of a byte of a WAV file."""
    return duration_ms * max(at - _HEADER_BYTES, 0) // max(size - _HEADER_BYTES, 1)
