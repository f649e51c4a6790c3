"""One call through the whole house: SIP in; recognised, redacted, judged, searchable, heard, audited out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest

from console.data_folder import DataFolder
from console.demo import load_demo_call
from console.wiring import Wiring
from events import topics
from events.audit_entry import Action
from events.call_document import CallDocument
from events.errors import KeyDestroyed
from events.identity import CallId
from events.log import Group
from events.topics import TOPICS, Key, Topic
from events.transcript import PiiKind
from recognizer.model_pack import ModelPack
from recognizer.recogniser import Recogniser
from recognizer.session import RecognitionSession
from telephony.caller import Caller
from tests.builders.engine import ROOT, RunningEngine, running_engine
from tests.builders.journey import complete, newest_call, siprec_call, wired

PASSWORD = "a password for tests only"
DIGIT = r"(?:zero|oh|one|two|three|four|for|five|six|seven|eight|nine|double|triple)"
# What was read aloud: the card number, the code on its back, the telephone number, in words and in figures.
SECRET = re.compile(
    r"\b(?:four|for|two)(?:\W+(?:four|for|two)){2,}\b|\bone\W+two\W+three\b|\bfive\W+five\W+five\b"
    r"|424242|\b4242\b|5552347896|\b555.?234|michael|\bbrown\b",
    re.IGNORECASE,
)
DIGIT_RUN = re.compile(rf"\b{DIGIT}(?:\s+{DIGIT})+\b")


@dataclass(frozen=True)
class WholeCall:
    engine: RunningEngine
    data: Path
    wiring: Wiring
    call: CallId
    document: CallDocument


def callwarden(*arguments: str, data: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    argv = [sys.executable, "-m", "console.cli", *arguments, "--data", str(data)]
    return subprocess.run(argv, input=given, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)


@pytest.fixture(scope="module")
def whole_call(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeCall]:
    data = tmp_path_factory.mktemp("whole") / "data"
    demo = load_demo_call()
    with running_engine(data, environment={"CALLWARDEN_AUDIT__CHECKPOINT_EVERY_MS": "1000"}) as engine:
        for role in ("officer", "supervisor", "auditor", "administrator"):
            added = callwarden("users", "add", role, "--role", role, data=data, given=PASSWORD + "\n")
            assert added.returncode == 0, added.stderr
        caller = Caller(engine.sip, transport="tcp")
        with siprec_call(engine, caller) as placed:
            placed.send((demo.agent, demo.customer))
        caller.close()
        wiring = wired(data)
        call = newest_call(wiring)
        yield WholeCall(engine, data, wiring, call, complete(wiring, call))
        wiring.close()


@pytest.fixture(scope="module")
def officer(whole_call: WholeCall) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{whole_call.engine.http}", follow_redirects=True, timeout=20) as client:
        token = re.findall(r'name="csrf" value="([^"]*)"', client.get("/login").text)[-1]
        answer = client.post("/login", data={"csrf": token, "name": "officer", "password": PASSWORD})
        assert "Log out" in answer.text
        yield client


def events_of(wiring: Wiring, topic: Topic) -> list[str]:
    """Every record of a topic, unsealed, as text."""
    group = Group("sweep")
    told: list[str] = []
    while True:
        deliveries = wiring.log.read([topic], group, 1000, 0.2)
        if not deliveries:
            return told
        told += [repr(wiring.sealer.record(topic, delivery.event)) for delivery in deliveries]


def test_findings_and_redactions_are_the_expected_ones(whole_call: WholeCall) -> None:
    expected = load_demo_call()
    document = whole_call.document
    assert {finding.rule for finding in document.findings} == expected.findings
    assert {span.kind for s in document.segments for span in s.spans} == {
        PiiKind(kind) for kind in expected.redactions
    }
    assert {alert.rule for alert in document.alerts} == expected.findings


def test_nothing_was_lost_on_the_way(whole_call: WholeCall) -> None:
    document = whole_call.document
    assert [leg.role.value for leg in document.legs] == ["agent", "customer"]
    assert all(leg.role_verified for leg in document.legs)
    packets = -(-len(load_demo_call().agent) // 160)
    for leg in document.legs:
        assert leg.statistics is not None
        assert leg.statistics.packets == packets
        assert leg.statistics.lost == leg.statistics.late == leg.statistics.duplicate == 0


def test_search_finds_the_call_and_says_where(whole_call: WholeCall) -> None:
    found = callwarden("search", "agent:guaranteed", "--json", data=whole_call.data)
    assert found.returncode == 0, found.stderr
    (hit,) = json.loads(found.stdout)["hits"]
    assert hit["summary"]["call"] == whole_call.call
    assert hit["highlights"][0]["role"] == "agent"
    assert (
        json.loads(callwarden("search", "customer:guaranteed", "--json", data=whole_call.data).stdout)["total"]
        == 0
    )
    shown = callwarden("show", whole_call.call, "--json", data=whole_call.data)
    assert json.loads(shown.stdout)["call"] == whole_call.call


@pytest.mark.parametrize("topic", [t for t in TOPICS if t.sealed_with is not Key.CAPTURE], ids=lambda t: t.name)
def test_no_topic_that_is_kept_holds_what_was_read_aloud(whole_call: WholeCall, topic: Topic) -> None:
    records = events_of(whole_call.wiring, topic)
    assert records
    assert [record for record in records if SECRET.search(record)] == []


@pytest.mark.parametrize("topic", [topics.CALL_AUDIO, topics.TRANSCRIPT_RAW], ids=lambda t: t.name)
def test_raw_audio_and_raw_transcript_cannot_be_read_any_more(whole_call: WholeCall, topic: Topic) -> None:
    deliveries = whole_call.wiring.log.read([topic], Group("sweep"), 50, 0.5)
    assert deliveries
    for delivery in deliveries:
        with pytest.raises(KeyDestroyed):
            whole_call.wiring.sealer.record(topic, delivery.event)


def test_no_file_of_the_data_folder_holds_what_was_read_aloud(whole_call: WholeCall) -> None:
    looked_at = 0
    for file in sorted(whole_call.data.rglob("*")):
        assert not SECRET.search(file.name)
        if not file.is_file():
            continue
        looked_at += 1
        # Lower-case letters and spaces in a row: random bytes of sealed values do not make the pattern by chance.
        found = SECRET.search(file.read_bytes().decode("latin-1"))
        assert found is None or len(found[0]) < 8, f"{file.name} holds what was read aloud."
    assert looked_at > 10


def test_pages_show_the_call_and_nothing_of_what_was_read_aloud(
    whole_call: WholeCall, officer: httpx.Client
) -> None:
    search = officer.get("/search", params={"q": '"guaranteed return"'})
    assert whole_call.call in search.text
    page = officer.get(f"/calls/{whole_call.call}")
    assert page.status_code == 200
    for placeholder in ("CARD_NUMBER", "VERIFICATION_CODE", "PHONE_NUMBER", "PERSON_NAME"):
        assert placeholder in page.text or placeholder.replace("_", " ").lower() in page.text.lower()
    assert "FIN-GUARANTEE" in page.text
    assert not SECRET.search(search.text)
    assert not SECRET.search(page.text)


def test_the_recording_plays_and_its_bleeps_hide_the_numbers(whole_call: WholeCall, officer: httpx.Client) -> None:
    """The bleeped recording is heard again by the recogniser."""
    answer = officer.get(f"/calls/{whole_call.call}/recording.wav")
    assert answer.status_code in (200, 206)
    part = officer.get(f"/calls/{whole_call.call}/recording.wav", headers={"Range": "bytes=44-1043"})
    assert part.status_code == 206
    assert part.content == answer.content[44:1044]
    legs = np.frombuffer(answer.content[44:], "<i2").reshape(-1, 2).astype(np.float32) / 32768
    assert abs(len(legs) / 8000 - whole_call.document.duration_ms / 1000) < 0.2
    recogniser = Recogniser.of_pack(ModelPack.load())
    heard = []
    for leg in range(2):
        session = RecognitionSession(recogniser)
        utterances = session.accept(np.ascontiguousarray(legs[:, leg])) + session.finish()
        heard.append(" ".join(u.text for u in utterances if u.status.value == "final"))
    assert re.search("guaranteed? return", heard[0])
    assert "savings account" in heard[1]
    assert DIGIT_RUN.findall(heard[1]) == []
    assert not SECRET.search(heard[1])


def test_every_access_is_in_the_audit_log_and_it_verifies_offline(
    whole_call: WholeCall, officer: httpx.Client, tmp_path: Path
) -> None:
    officer.get("/search", params={"q": "savings"})
    officer.get(f"/calls/{whole_call.call}")
    officer.get(f"/calls/{whole_call.call}/recording.wav", headers={"Range": "bytes=0-99"})
    exported = tmp_path / "export.jsonl"
    done = callwarden("audit", "export", "--out", str(exported), "--reason", "test", data=whole_call.data)
    assert done.returncode == 0, done.stderr
    text = exported.read_text()
    for action in (
        Action.LOG_IN,
        Action.SEARCH,
        Action.VIEW_CALL,
        Action.PLAY,
        Action.EXPORT_AUDIT,
        Action.USER_ADDED,
    ):
        assert f'"{action.value}"' in text
    assert "savings" not in text, "Search words are sealed."
    assert not SECRET.search(text)
    key = tmp_path / "public.key"
    shutil.copy(whole_call.data / "audit" / "public.key", key)
    argv = [sys.executable, "-m", "console.cli", "audit", "verify"]
    good = subprocess.run([*argv, exported, "--key", key], capture_output=True, text=True, cwd=ROOT, check=False)
    assert good.returncode == 0, good.stderr
    forged = tmp_path / "forged.jsonl"
    forged.write_text(text.replace('"officer"', '"nobody!"', 1))
    bad = subprocess.run([*argv, forged, "--key", key], capture_output=True, text=True, cwd=ROOT, check=False)
    assert bad.returncode == 1
    assert bad.stderr.strip()


def test_health_and_metrics_tell_nothing_personal(whole_call: WholeCall) -> None:
    health = json.loads(whole_call.engine.page("/healthz"))
    assert health["status"] == "ok"
    assert set(health["stages"].values()) == {"running"}
    metrics = whole_call.engine.page("/metrics")
    assert "callwarden_rtp_packets_total" in metrics
    assert "callwarden_findings_total" in metrics
    assert not SECRET.search(metrics)


def test_the_data_folder_is_complete(whole_call: WholeCall) -> None:
    folder = DataFolder.at(whole_call.data)
    assert list(folder.recordings.rglob("*.cwr"))
    second = callwarden("up", "--sip", "127.0.0.1:0", "--http", "127.0.0.1:0", data=whole_call.data)
    assert second.returncode == 1
    assert "already runs on the data folder" in second.stderr
