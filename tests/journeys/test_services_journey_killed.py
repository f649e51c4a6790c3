"""kill -9 of a process during a call, on Kafka and Elasticsearch: another takes over, nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from events.call_document import CallDocument
from events.identity import CallId
from telephony.caller import Caller
from tests.builders.engine import until
from tests.builders.journey import complete, newest_call, piece, siprec_call
from tests.journeys.test_services_journey import FROM_S, TO_S, Journey, journey, must_be_whole
from tests.services.needed import services

pytestmark = services

KILL_AFTER_S = 6.0


class Calls:
    def __init__(self, found: Journey) -> None:
        self.journey = found
        self._known: frozenset[CallId] = frozenset()

    def after(self, kill: str) -> CallDocument:
        """Place a call, kill a process in the middle of the card number, and return the complete document."""
        engine = self.journey.engine
        caller = Caller(engine.sip, transport="udp")
        killer = threading.Timer(KILL_AFTER_S, engine.kill, [kill])
        with siprec_call(engine, caller) as placed:
            killer.start()
            placed.send(piece(FROM_S, TO_S))
        caller.close()
        killer.join()
        call = newest_call(self.journey.wiring, self._known)
        self._known |= {call}
        return complete(self.journey.wiring, call, within_s=120)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with journey(tmp_path_factory.mktemp("killed") / "data", kafka=True, elasticsearch=True) as found:
        yield Calls(found)


@pytest.mark.parametrize("stage", ["recogniser", "redaction", "indexer"])
def test_a_killed_process_costs_nothing(calls: Calls, stage: str) -> None:
    document = calls.after(stage)
    must_be_whole(document)
    assert document.findings
    assert len(document.segments) >= 3


def test_in_the_end_nothing_waits_for_the_index(calls: Calls) -> None:
    until(
        lambda: (lag := calls.journey.engine.healthz()["lag"])["archive"] == lag["indexer"] == 0,
        "archive and indexer have done with everything",
    )
