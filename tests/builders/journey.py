"""The demo call, or a piece of it, placed into a running engine by our caller."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from console.data_folder import DataFolder
from console.demo import load_demo_call
from console.settings import load_settings
from console.wiring import Wiring
from events.audio import Encoding
from events.call_document import CallDocument, CallState
from events.identity import CallId
from telephony.caller import Caller, Party, PlacedCall
from tests.builders.engine import RunningEngine, until

BYTES_PER_S = 8000
PARTIES = (
    Party("Robert", "sip:robert@agents.example.com", "agent"),
    Party("", "sip:caller@customers.example.com", "customer"),
)


def wired(data: Path, environment: Mapping[str, str] | None = None) -> Wiring:
    """The parts of the engine on `data`, opened beside it."""
    return Wiring(DataFolder.at(data), load_settings(None, environment or {}))


def piece(from_s: float, to_s: float) -> tuple[bytes, bytes]:
    """Agent's and customer's G.711 mu-law payload of a stretch of the demo call."""
    call = load_demo_call()
    start, end = int(from_s * BYTES_PER_S), int(to_s * BYTES_PER_S)
    return call.agent[start:end], call.customer[start:end]


def siprec_call(engine: RunningEngine, caller: Caller, from_uri: str = "sip:sbc@example.com") -> PlacedCall:
    """An answered SIPREC call of an agent and a customer."""
    return caller.call((Encoding.PCMU, Encoding.PCMU), parties=PARTIES, from_uri=from_uri)


def newest_call(wiring: Wiring, besides: frozenset[CallId] = frozenset()) -> CallId:
    """The id of the one call that is not among `besides`."""
    from indexer.index import CallQuery, SearchOrder

    def look() -> CallId | None:
        page = wiring.index.search(CallQuery(order=SearchOrder.NEWEST, page_size=100))
        fresh = [hit.summary.call for hit in page.hits if hit.summary.call not in besides]
        assert len(fresh) <= 1, "More calls than were placed: one was doubled."
        return fresh[0] if fresh else None

    return until(look, "the call is in the index")


def complete(wiring: Wiring, call: CallId, within_s: float = 90.0) -> CallDocument:
    """The call's document once nothing more comes."""

    def look() -> CallDocument | None:
        document = wiring.index.get(call)
        return document if document is not None and document.state is CallState.COMPLETE else None

    return until(look, "the call is complete", within_s)
