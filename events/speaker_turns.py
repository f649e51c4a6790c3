"""Who of two speakers spoke when on a leg that carries both. Written by an import, to `call.lifecycle`."""

from __future__ import annotations

from dataclasses import dataclass

from events.identity import CallId


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """One speaker speaks without a longer pause, in ms of call time."""

    speaker: int
    """0 is who speaks first on the leg, 1 the other one. Voices do not say who of them is the agent."""
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class SpeakerTurns:
    """All turns of one mixed leg, in order of their start. There is none where only one voice was found."""

    call: CallId
    leg: int
    turns: tuple[SpeakerTurn, ...]
