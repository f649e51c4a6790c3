"""kill -9 of any one process during a call: it comes back, the call goes on, nothing is lost and nothing doubled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.wiring import Wiring
from events.call_document import CallDocument
from events.identity import CallId
from events.transcript import PiiKind
from telephony.caller import Caller
from tests.builders.engine import RunningEngine, running_engine
from tests.builders.journey import complete, newest_call, piece, siprec_call, wired

# The card number is asked for, read aloud and followed by the code: what must survive is what matters most.
FROM_S, TO_S = 44.5, 59.5
KILL_AFTER_S = 6.0
MOST_IN_MEMORY = 50
"""Packets of a leg, one second, that capture may have read and not handed on; usually it is less than ten."""
STAGES = ("capture", "recogniser", "redaction", "rules", "alerts", "archive", "indexer", "audit", "console")


def place(engine: RunningEngine, kill: str | None = None) -> None:
    """Place the call; in the middle of the card number, kill a process."""
    caller = Caller(engine.sip, transport="udp")
    killer = threading.Timer(KILL_AFTER_S, engine.kill, [kill]) if kill else None
    with siprec_call(engine, caller) as placed:
        if killer is not None:
            killer.start()
        placed.send(piece(FROM_S, TO_S))
    caller.close()
    if killer is not None:
        killer.join()


def said(document: CallDocument) -> list[tuple[int, str]]:
    return [(segment.leg, segment.text) for segment in document.segments]


class Calls:
    """The engine's calls, in the order in which they were placed."""

    def __init__(self, engine: RunningEngine, wiring: Wiring) -> None:
        self.engine = engine
        self._wiring = wiring
        self._known: frozenset[CallId] = frozenset()
        self.unharmed = self.after(None)

    def after(self, kill: str | None) -> CallDocument:
        """Place a call, kill a process during it, and return the call's document once it is complete."""
        place(self.engine, kill)
        call = newest_call(self._wiring, self._known)
        self._known |= {call}
        return complete(self._wiring, call)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    data: Path = tmp_path_factory.mktemp("killed") / "data"
    with running_engine(data) as engine:
        wiring = wired(data)
        yield Calls(engine, wiring)
        wiring.close()


def test_the_unharmed_call_has_what_the_others_are_compared_with(calls: Calls) -> None:
    kinds = {span.kind for segment in calls.unharmed.segments for span in segment.spans}
    assert {PiiKind.CARD_NUMBER, PiiKind.VERIFICATION_CODE} <= kinds
    assert len(calls.unharmed.segments) >= 3


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_process_costs_nothing(calls: Calls, stage: str) -> None:
    restarts = {name: state["restarts"] for name, state in calls.engine.stages().items()}
    document = calls.after(stage)
    for name, state in calls.engine.stages().items():
        assert state["state"] == "ready"
        assert state["restarts"] == restarts[name] + (name == stage)  # type: ignore[operator]

    assert len({segment.id for segment in document.segments}) == len(document.segments)
    assert {finding.rule for finding in document.findings} == {f.rule for f in calls.unharmed.findings}
    assert {(s.kind, s.leg) for x in document.segments for s in x.spans} == {
        (s.kind, s.leg) for x in calls.unharmed.segments for s in x.spans
    }
    assert document.recording is not None
    for leg, sent in zip(document.legs, piece(FROM_S, TO_S), strict=True):
        assert leg.statistics is not None
        # What arrived while capture was down waited in the kernel's buffers. What it had read and not yet
        # handed to the log is lost with it: each packet is there once, or it is marked as lost.
        assert leg.statistics.packets + leg.statistics.lost == len(sent) // 160
        assert leg.statistics.duplicate == 0
        assert leg.statistics.lost == 0 or (stage == "capture" and leg.statistics.lost <= MOST_IN_MEMORY)
    if stage == "capture":
        assert document.interruptions
    else:
        assert Counter(said(document)) == Counter(said(calls.unharmed))
