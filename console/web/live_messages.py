"""What the feed tells open live pages, and its form on the wire."""

from __future__ import annotations

import json
from typing import Any, Final

from console.web.live_call import LiveCall
from console.web.live_turn import LiveTurn, last_line
from events.finding import Alert, AlertAnswered

Message = dict[str, Any]

RESYNC: Final[Message] = {"type": "resync"}


def turn_message(turn: LiveTurn) -> Message:
    """The words follow when it is sent (:func:`as_sent`): only what somebody watches is made readable."""
    segment = turn.segment
    return {
        "type": "segment",
        "call": segment.call,
        "id": segment.id,
        "leg": segment.leg,
        "role": segment.role.value,
        "start_ms": segment.start_ms,
        "final": turn.final,
        "turn": turn,
    }


def as_sent(message: Message, whole: bool, mask_profanity: bool) -> Message:
    """Return a message as it is sent.

    Parameters
    ----------
    message : dict
    whole : bool
        Send all words in both forms; otherwise the end of what is for reading, as a card shows it.
    mask_profanity : bool
    """
    if message["type"] != "segment":
        return message
    turn: LiveTurn = message["turn"]
    reading = turn.reading(mask_profanity)
    forms = (
        {"reading": reading, "spoken": turn.spoken(mask_profanity)} if whole else {"reading": last_line(reading)}
    )
    return {name: value for name, value in message.items() if name != "turn"} | forms


def event(message: Message) -> bytes:
    """One server-sent event; JSON has no line breaks of its own."""
    return b"data: " + json.dumps(message, ensure_ascii=False).encode() + b"\n\n"


def alert_message(alert: Alert) -> Message:
    return {
        "type": "alert",
        "call": alert.call,
        "alert": alert.id,
        "title": alert.title,
        "severity": alert.severity.value,
        "at_ms": alert.at_ms,
        "raised_at_ms": alert.raised_at_ms,
        "why": alert.why,
    }


def answer_message(answer: AlertAnswered) -> Message:
    return {
        "type": "answered",
        "call": answer.call,
        "alert": answer.alert,
        "by": answer.by,
        "at_ms": answer.at_ms,
    }


def call_message(live: LiveCall) -> Message:
    return {
        "type": "call",
        "call": live.call,
        "started_at_ms": live.started_at_ms,
        "speakers": [[leg, role.value, name] for leg, (role, name) in sorted(live.speakers.items())],
        "held": bool(live.held),
    }
