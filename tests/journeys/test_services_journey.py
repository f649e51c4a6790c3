"""A call over SIP and RTP to the search page, with the engine on Kafka, Elasticsearch and pjsua2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from console.wiring import Wiring
from events.call_document import CallDocument
from events.transcript import PiiKind
from telephony.caller import Caller
from tests.builders.engine import ROOT, RunningEngine, running_engine
from tests.builders.journey import complete, newest_call, piece, siprec_call, wired
from tests.builders.real_parts import real_parts
from tests.services.needed import services

pytestmark = services

PASSWORD = "a password for tests only"
# The card number is asked for, read aloud and followed by the code.
FROM_S, TO_S = 44.5, 59.5


@dataclass(frozen=True)
class Journey:
    engine: RunningEngine
    wiring: Wiring
    environment: dict[str, str]

    def place(self) -> None:
        """A SIPREC call in real time."""
        caller = Caller(self.engine.sip, transport="tcp")
        with siprec_call(self.engine, caller) as placed:
            placed.send(piece(FROM_S, TO_S))
        caller.close()


@contextmanager
def journey(data: Path, **parts: bool) -> Iterator[Journey]:
    with real_parts(**parts) as environment, running_engine(data, environment=environment) as engine:
        wiring = wired(data, environment)
        try:
            yield Journey(engine, wiring, environment)
        finally:
            wiring.close()


@contextmanager
def officer(engine: RunningEngine, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """An officer who has logged in to the console."""
    argv = [sys.executable, "-m", "console.cli", "users", "add", "mia", "--role", "officer"]
    added = subprocess.run(
        [*argv, "--data", str(engine.data)],
        input=PASSWORD + "\n",
        text=True,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert added.returncode == 0 or "exists already" in added.stderr, added.stderr
    with httpx.Client(base_url=f"http://{engine.http}", follow_redirects=True, timeout=20) as client:
        token = re.findall(r'name="csrf" value="([^"]*)"', client.get("/login").text)[-1]
        assert "Log out" in client.post("/login", data={"csrf": token, "name": "mia", "password": PASSWORD}).text
        yield client


def must_be_whole(document: CallDocument) -> None:
    """Everything that was sent is there, and what was read aloud is hidden."""
    assert [leg.role.value for leg in document.legs] == ["agent", "customer"]
    for leg, sent in zip(document.legs, piece(FROM_S, TO_S), strict=True):
        assert leg.statistics is not None
        assert leg.statistics.packets == len(sent) // 160
        assert leg.statistics.lost == leg.statistics.late == leg.statistics.duplicate == 0
    kinds = {span.kind for segment in document.segments for span in segment.spans}
    assert {PiiKind.CARD_NUMBER, PiiKind.VERIFICATION_CODE} <= kinds
    assert len({segment.id for segment in document.segments}) == len(document.segments)
    assert document.recording is not None


def must_be_found(found: Journey, document: CallDocument) -> None:
    """The search page shows the call for words of it, and the call page what was said and what was hidden."""
    words = next(segment.text for segment in document.segments if not segment.spans)
    with officer(found.engine, found.environment) as client:
        page = client.get("/search", params={"q": f'"{" ".join(words.split()[:3])}"'})
        assert page.status_code == 200
        assert document.call in page.text
        call = client.get(f"/calls/{document.call}")
        assert call.status_code == 200
        assert "card number" in call.text
        heard = client.get(f"/calls/{document.call}/recording.wav", headers={"Range": "bytes=0-1043"})
        assert heard.status_code == 206
    health = json.loads(found.engine.page("/healthz"))
    assert health["status"] == "ok"
    assert health["parts"] == {"event log": "reachable", "index": "reachable"}
    assert set(health["stages"].values()) == {"running"}


@pytest.mark.parametrize(
    "parts",
    [("kafka",), ("elasticsearch",), ("pjsua2",), ("kafka", "elasticsearch", "pjsua2")],
    ids="-".join,
)
def test_a_call_reaches_the_search_page(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with journey(tmp_path / "data", **dict.fromkeys(parts, True)) as found:
        found.place()
        document = complete(found.wiring, newest_call(found.wiring))
        must_be_whole(document)
        must_be_found(found, document)
