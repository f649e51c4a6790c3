"""Calls in progress for the supervisor: pages that stand by themselves, and streams that keep them up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from console.web.access import PageRefused, Visit
from console.web.live_call import LiveCall, in_time_order, supersedes
from console.web.live_messages import as_sent, event
from console.web.live_turn import LiveTurn, last_line
from console.web.transcript_view import speaker_names
from events.audit_entry import Action, Outcome
from events.call_document import CallDocument
from events.identity import CallId, parse_call_id

_SUBJECT: Final = "live"


def overview(visit: Visit) -> Response:
    calls = visit.services.feed.calls()
    in_progress = {live.call for live in calls}
    unanswered = [item for item in visit.services.feed.alerts() if item.answer is None]
    now = [item for item in unanswered if item.alert.call in in_progress]
    visit.record(Action.VIEW_LIVE, _SUBJECT)
    masking = visit.services.settings.mask_profanity
    return visit.page(
        "live.html",
        calls=[
            (live, names_of(live), [(turn, last_line(turn.reading(masking))) for turn in live.turns()[-2:]])
            for live in calls
        ],
        alerts=now,
        older=len(unanswered) - len(now),
        titles={live.call: " and ".join(names_of(live).values()) for live in calls},
    )


def names_of(live: LiveCall) -> dict[int, str]:
    return speaker_names((leg, role, name) for leg, (role, name) in live.speakers.items())


def call(visit: Visit) -> Response:
    live = _the_call(visit)
    document = visit.services.index.get(live.call)
    visit.record(Action.VIEW_LIVE, live.call)
    masking = visit.services.settings.mask_profanity
    return visit.page(
        "live_call.html",
        live=live,
        names=names_of(live),
        turns=[
            (turn, turn.reading(masking), turn.spoken(masking))
            for turn in _with_earlier(live, document)
            if turn.segment.words
        ],
        alerts=[item for item in visit.services.feed.alerts() if item.alert.call == live.call],
    )


def _with_earlier(live: LiveCall, document: CallDocument | None) -> list[LiveTurn]:
    """The feed's turns, and those that the index has from before the console was started."""
    turns = {turn.segment.id: turn for turn in live.turns()}
    for segment in document.segments if document else ():
        earlier = LiveTurn(segment)
        known = turns.get(segment.id)
        if known is None or not known.final or supersedes(earlier, known):
            turns[segment.id] = earlier
    return sorted(turns.values(), key=in_time_order)


def _the_call(visit: Visit) -> LiveCall:
    try:
        call = parse_call_id(visit.request.path_params["call"])
    except ValueError:
        raise PageRefused(404, "There is no such call.", "not_found") from None
    live = visit.services.feed.call(call)
    if live is None:
        visit.record(Action.VIEW_LIVE, call, Outcome.FAILED)
        raise PageRefused(404, "This call is not in progress any more.", "not_found")
    return live


def overview_events(visit: Visit) -> Response:
    visit.record(Action.VIEW_LIVE, f"{_SUBJECT} stream")
    return _stream(visit, None)


def call_events(visit: Visit) -> Response:
    live = _the_call(visit)
    visit.record(Action.VIEW_LIVE, live.call)
    return _stream(visit, live.call)


def _stream(visit: Visit, call: CallId | None) -> Response:
    return StreamingResponse(
        _events(visit, call), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(visit: Visit, call: CallId | None) -> AsyncIterator[bytes]:
    feed, token = visit.services.feed, visit.request.cookies.get(visit.cookie, "")
    every_s, now = visit.services.settings.stream_check_s, asyncio.get_running_loop().time
    masking = visit.services.settings.mask_profanity
    with feed.watching(call) as (watcher, state):
        yield b"retry: 2000\n: watching\n\n"
        for message in state:
            yield event(as_sent(message, call is not None, masking))
        look_at = now() + every_s
        while not feed.stopped:
            if now() >= look_at:
                # The person may have been logged out or disabled meanwhile, however busy the stream is.
                session = await run_in_threadpool(visit.services.sessions.find, token)
                if session is None or session.user.role is not visit.user.role:
                    yield event({"type": "logged_out"})
                    return
                yield b": still here\n\n"
                look_at = now() + every_s
            try:
                change = await watcher.next(look_at - now())
            except TimeoutError:
                continue
            if change is None:
                return
            yield event(as_sent(change, call is not None, masking))
