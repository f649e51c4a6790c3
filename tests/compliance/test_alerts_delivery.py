"""Alerts go to a real HTTP server: signed, once, in spite of errors, slowness, restarts and kills."""

from __future__ import annotations

import hashlib
import hmac
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from compliance.alerts import channels
from compliance.alerts.alert import alert_of
from compliance.alerts.channels import DeliveryFailed, Webhook, WebhookSettings, signature
from compliance.alerts.dispatcher import Dispatcher, DispatcherSettings
from compliance.alerts.outbox import FILE, Outbox
from compliance.alerts.stage import AlertStage
from compliance.finished_calls import FinishedCalls
from events.clock import Clock, ManualClock, SystemClock
from events.errors import StopConsumer
from events.finding import Alert, AlertDelivered, Severity
from events.identity import CallId
from events.topics import ALERT, FINDING, Key
from indexer.sqlite_index import SqliteIndex
from tests.compliance.alert_receiver import Behaviour, Receiver, free_port
from tests.indexer.call_records import call_id, finding
from tests.indexer.stage_rig import StageRig

SECRET = "0123456789abcdef-secret"
QUICK = DispatcherSettings(first_wait_s=0.01, longest_wait_s=0.05, jitter_s=0.01, most_attempts=4)
OPENSSL_DIGEST = "6948a2dc6985c92d09b9edade5c97dce2ba201452d91a72e4a20d35abe4d3420"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[StageRig]:
    rig = StageRig(tmp_path)
    yield rig
    rig.close()


def raised(number: int, at_ms: int = 900) -> Alert:
    return alert_of(finding(call_id(number), "FIN-GUARANTEE", at_ms), 1_750_000_000_000)


def dispatcher(
    outbox: Outbox,
    url: str,
    settings: DispatcherSettings = QUICK,
    timeout_s: float = 20.0,
    clock: Clock | None = None,
) -> Dispatcher:
    webhook = Webhook(WebhookSettings(url, SECRET, timeout_s), "https://console.example/")
    return Dispatcher(outbox, webhook, settings, clock)


def deliver_all(outbox: Outbox, url: str, clock: Clock | None = None) -> None:
    """Run a dispatcher until nothing is owed."""
    ended = threading.Event()
    finish = outbox.finish

    def noted(outcome: AlertDelivered) -> None:
        finish(outcome)
        if outbox.owed() == 0:
            ended.set()

    outbox.finish = noted  # type: ignore[method-assign]
    running = dispatcher(outbox, url, clock=clock)
    running.start()
    assert ended.wait(20)
    running.close()


# What is sent


def test_a_message_is_signed_and_names_no_words(receiver: Receiver, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    alert = raised(1)
    outbox.add(alert, ["webhook"])
    deliver_all(outbox, receiver.url)
    (request,) = receiver.requests
    fields = dict(part.split("=") for part in request.headers["X-Callwarden-Signature"].split(","))
    expected = hmac.new(SECRET.encode(), f"{fields['t']}.".encode() + request.body, hashlib.sha256).hexdigest()
    assert fields["v1"] == expected
    assert request.alert == alert.id
    assert json.loads(request.body) == {
        "type": "callwarden.alert",
        "alert": alert.id,
        "call": alert.call,
        "rule": "FIN-GUARANTEE",
        "title": "Title of FIN-GUARANTEE",
        "severity": "high",
        "call_time_ms": 900,
        "raised_at_ms": 1_750_000_000_000,
        "link": f"https://console.example/calls/{alert.call}",
    }
    assert alert.why.encode() not in request.body


def test_the_signature_is_that_of_openssl() -> None:
    # printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef-secret
    assert signature(SECRET, 1_700_000_000, b'{"a":1}') == f"t=1700000000,v1={OPENSSL_DIGEST}"


# Retries


def test_an_alert_is_tried_again_until_it_is_taken(receiver: Receiver, tmp_path: Path) -> None:
    receiver.behaviours = [Behaviour(500), Behaviour(503), Behaviour(404)]
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    deliver_all(outbox, receiver.url)
    (outcome,) = outbox.unreported()
    assert (outcome.delivered, outcome.attempts, outcome.reason) == (True, 4, "")
    assert len({request.alert for request in receiver.requests}) == 1


def test_attempts_are_bounded_and_the_reason_is_kept(receiver: Receiver, tmp_path: Path) -> None:
    receiver.behaviours = [Behaviour(500)] * 10
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    deliver_all(outbox, receiver.url)
    (outcome,) = outbox.unreported()
    assert (outcome.delivered, outcome.attempts) == (False, QUICK.most_attempts)
    assert outcome.reason == "The receiver answered with status 500."
    assert len(receiver.requests) == QUICK.most_attempts


def test_a_redirect_is_not_followed(receiver: Receiver, tmp_path: Path) -> None:
    other = Receiver()
    receiver.behaviours = [Behaviour(302, {"Location": other.url})] * 10
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    deliver_all(outbox, receiver.url)
    other.close()
    assert other.requests == []
    assert not outbox.unreported()[0].delivered


def test_a_receiver_that_is_away_gets_the_alert_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    refused = threading.Event()
    put_off = outbox.put_off

    def noted(*given: object) -> None:
        put_off(*given)  # type: ignore[arg-type]
        refused.set()

    outbox.put_off = noted  # type: ignore[method-assign]
    running = dispatcher(outbox, f"http://127.0.0.1:{port}/", DispatcherSettings(0.01, 0.05, 0.01, 10_000))
    running.start()
    assert refused.wait(20)
    receiver = Receiver(port)
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    running.close()
    receiver.close()
    assert outbox.unreported()[0].delivered


def test_a_wait_that_the_receiver_asks_for_is_kept(receiver: Receiver, tmp_path: Path) -> None:
    webhook = Webhook(WebhookSettings(receiver.url, SECRET), clock=ManualClock())
    for header, expected in (
        ("120", 120.0),
        ("999999999999", 600.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("", 0.0),
    ):
        receiver.behaviours = [Behaviour(429, {"Retry-After": header})]
        with pytest.raises(DeliveryFailed, match="status 429") as failed:
            webhook.send(raised(1))
        assert failed.value.retry_after_s == expected, header


def test_waits_double_within_bounds(tmp_path: Path) -> None:
    settings = DispatcherSettings(first_wait_s=1, longest_wait_s=30, jitter_s=0.5)
    waits = [dispatcher(Outbox(tmp_path), "http://x/", settings)._wait_s(attempt) for attempt in range(1, 9)]
    for wait, least in zip(waits, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
        assert least <= wait <= min(least + 0.5, 30.5)


# Slow receivers


def test_a_slow_answer_does_not_hold_up_other_alerts(receiver: Receiver, tmp_path: Path) -> None:
    hold = threading.Event()
    receiver.behaviours = [Behaviour(hold=hold)]
    outbox = Outbox(tmp_path)
    running = dispatcher(outbox, receiver.url)
    running.start()
    outbox.add(raised(1), ["webhook"])
    running.wake()
    receiver.wait_for(lambda: len(receiver.requests) == 1)
    outbox.add(raised(2), ["webhook"])
    running.wake()
    receiver.wait_for(lambda: len(receiver.requests) == 2)
    assert receiver.requests[1].alert == raised(2).id
    hold.set()
    running.close()
    assert sorted(outcome.attempts for outcome in outbox.unreported()) == [1, 1]


@pytest.mark.parametrize("kind", ["silent", "dripping"])
def test_one_deadline_holds_for_the_whole_attempt(receiver: Receiver, tmp_path: Path, kind: str) -> None:
    done = threading.Event()
    receiver.behaviours = [Behaviour(hold=done) if kind == "silent" else Behaviour(drip=done)]
    with pytest.raises(DeliveryFailed, match=r"did not answer within 0\.3 s"):
        Webhook(WebhookSettings(receiver.url, SECRET, 0.3)).send(raised(1))
    done.set()


@pytest.mark.parametrize(
    ("url", "reason"), [("http://127.0.0.1:1/", "could not be connected"), ("http://[::1", "begins with https")]
)
def test_failures_are_whole_sentences(url: str, reason: str) -> None:
    with pytest.raises((DeliveryFailed, ValueError), match=rf"{reason}|Invalid IPv6"):
        Webhook(WebhookSettings(url, SECRET)).send(raised(1))


# The stage


def test_findings_become_alerts_and_outcomes_come_back(receiver: Receiver, rig: StageRig, tmp_path: Path) -> None:
    call = call_id(1)
    loud, quiet = finding(call, "A", 500), finding(call, "B", 700)
    rig.append(FINDING, [loud, replace(quiet, alert=False)])
    outbox = Outbox(tmp_path / "state")
    stage = AlertStage(outbox, [dispatcher(outbox, receiver.url)], rig.clock)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) + outbox.owed() + len(outbox.unreported()) == 0)
    stage.close()
    alert, outcome = rig.records(ALERT)
    assert isinstance(alert, Alert)
    assert (alert.finding, alert.rule, alert.severity, alert.why) == (loud.id, "A", Severity.HIGH, loud.why)
    assert alert.raised_at_ms == 1_700_000_000_000
    assert isinstance(outcome, AlertDelivered)
    assert (outcome.alert, outcome.channel, outcome.delivered, outcome.attempts) == (alert.id, "webhook", True, 1)


def test_a_finding_that_comes_again_gives_the_same_alert_and_no_second_delivery(
    receiver: Receiver, rig: StageRig, tmp_path: Path
) -> None:
    rig.append(FINDING, [finding(call_id(1), "A", 500)])
    first = AlertStage(Outbox(tmp_path / "state"), clock=rig.clock)
    loop = rig.start(first)
    for delivery in loop._log.read([FINDING], loop._group, 10, 0.5):
        loop._take(delivery)
    rig.crash()  # before the alert was appended and the position committed
    rig.clock.advance(60_000)
    outbox = Outbox(tmp_path / "state")
    second = AlertStage(outbox, clock=rig.clock)
    rig.step_until(rig.start(second), lambda: rig.lag(second) == 0)
    (alert,) = rig.records(ALERT)
    assert isinstance(alert, Alert)
    assert alert.raised_at_ms == 1_700_000_000_000, "It was raised when it was raised first."


def test_a_call_that_was_erased_gives_no_alert_and_stops_nothing(rig: StageRig, tmp_path: Path) -> None:
    rig.append(FINDING, [finding(call_id(1), "A", 500), finding(call_id(2), "A", 500)])
    rig.keys.destroy(call_id(1), Key.RECORD)
    stage = AlertStage(Outbox(tmp_path / "state"), clock=rig.clock)
    rig.step_until(rig.start(stage), lambda: rig.lag(stage) == 0)
    outbox = Outbox(tmp_path / "state")
    assert outbox.add(raised(1, 500), [])[1]
    assert CallId(outbox.add(alert_of(finding(call_id(2), "A", 500), 1), [])[0].call) == call_id(2)


# Restarts


def test_what_is_owed_outlives_the_process(receiver: Receiver, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    outbox.close()
    deliver_all(Outbox(tmp_path), receiver.url)
    assert len(receiver.requests) == 1


def test_what_was_delivered_is_not_delivered_again(receiver: Receiver, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    deliver_all(outbox, receiver.url)
    again = Outbox(tmp_path)
    assert again.add(raised(1), ["webhook"]) == (raised(1), False)
    assert again.take_due("webhook", 2**60, 1000, 10) == []
    assert [outcome.delivered for outcome in again.unreported()] == [True], "Reported it still has to be."
    again.reported(again.unreported())
    assert again.unreported() == []


def test_an_attempt_that_was_killed_is_made_again(receiver: Receiver, tmp_path: Path) -> None:
    hold = threading.Event()
    receiver.behaviours = [Behaviour(hold=hold)]
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), ["webhook"])
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("alert_child.py")), str(tmp_path), receiver.url],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        receiver.wait_for(lambda: bool(receiver.requests), 60)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert outbox.owed() == 1
    later = ManualClock(SystemClock().now_ms() + 120_000)  # behind the lease of the one that was killed
    deliver_all(outbox, receiver.url, later)
    hold.set()
    assert [request.alert for request in receiver.requests] == [raised(1).id] * 2
    assert outbox.unreported()[0].delivered


def test_a_lease_keeps_two_members_from_delivering_one_alert(tmp_path: Path) -> None:
    ours, theirs = Outbox(tmp_path), Outbox(tmp_path)
    alert = raised(1)
    ours.add(alert, ["webhook"])
    now_ms = alert.raised_at_ms
    assert len(ours.take_due("webhook", now_ms, 1_000, 5)) == 1
    assert theirs.take_due("webhook", now_ms, 1_000, 5) == []
    assert theirs.next_due_ms("webhook") == now_ms + 1_000
    assert len(theirs.take_due("webhook", now_ms + 1_000, 1_000, 5)) == 1


def test_old_alerts_are_forgotten_once_they_were_reported(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.add(raised(1), [])
    outbox.add(raised(2), ["webhook"])
    outbox.forget_old(raised(1).raised_at_ms + 365 * 86_400_000)
    assert outbox.add(raised(1), [])[1], "It is new again."
    assert not outbox.add(raised(2), [])[1], "Its delivery is owed still."


def test_a_damaged_outbox_stops_the_stage(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StopConsumer, match="is damaged"):
        Outbox(tmp_path)


# Settings


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"url": "ftp://x/"}, "begins with https"),
        ({"url": "https:///alerts"}, "names a host"),
        ({"url": "https://x/", "secret": "short"}, "at least 16 characters"),
        ({"url": "https://x/", "secret": SECRET, "timeout_s": 0}, "more than 0"),
    ],
)
def test_webhook_settings_are_checked(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        channels.WebhookSettings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"first_wait_s": 9, "longest_wait_s": 1}, {"most_attempts": 0}, {"lease_s": 0}])
def test_dispatcher_settings_are_checked(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="dispatcher"):
        DispatcherSettings(**given)  # type: ignore[arg-type]


def test_an_attempt_may_not_outlast_its_lease(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer than its channel's timeout_s"):
        dispatcher(Outbox(tmp_path), "https://x/", DispatcherSettings(lease_s=10), timeout_s=10)


def _open(folder: Path, together: Barrier) -> None:
    together.wait()
    Outbox(folder)
    FinishedCalls(folder)
    SqliteIndex(folder)


def test_processes_that_start_together_all_open_what_is_new(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(10):
        together = context.Barrier(4)
        children = [context.Process(target=_open, args=(tmp_path / str(attempt), together)) for _ in range(4)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0] * 4
