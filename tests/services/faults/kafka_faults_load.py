"""Calls' audio blocks through an event log in real time, and the account of what became of each."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from events.audio import AudioBlock, Encoding
from events.errors import LogUnavailable
from events.identity import CallId, RecordId, Role, new_call_id
from events.log import Event, EventLog, Group
from events.sealing import Sealer
from events.topics import Key, Topic

STAGE: Final = "fault"
BLOCKS: Final = Topic("faults.blocks", frozenset({"capture"}), frozenset({STAGE}), Key.CAPTURE, 1.0)
RESULTS: Final = Topic("faults.results", frozenset({STAGE}), frozenset({"console"}), None, 1.0)
BLOCK_MS: Final = 100
_SAMPLES: Final = 800
_PATIENCE_S: Final = 120.0
_AGAIN_S: Final = 0.05

OpenLog = Callable[[], EventLog]


class OneKey:
    """The same data key for every call."""

    def key(self, call: CallId, key: Key) -> bytes:
        return b"\x07" * 32


def until(true: Callable[[], object], what: str, within_s: float = _PATIENCE_S) -> None:
    """Poll until `true` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"Within {within_s:g} s it did not come about that {what}.")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of everything that was sent."""

    sent: int
    """Acknowledged by the event log."""
    found: int
    """Of these, in the log (or among a stage's results)."""
    doubled: int
    """Records that lie there once more under the same id."""
    contradictory: int
    """Ids with two different contents: what a reader that goes by ids could not put right."""
    out_of_order: int
    """Records behind a later one of their call, each id counted once."""

    @property
    def lost(self) -> int:
        return self.sent - self.found


class Load:
    """Writes blocks of calls as capture does: what is due goes in one append, a refused one is tried again.

    Parameters
    ----------
    open_log
        Opens the log to write to.
    calls
        Calls that speak at once; each has a block of one leg every 100 ms.
    """

    def __init__(self, open_log: OpenLog, calls: int = 100) -> None:
        self._log = open_log()
        self._sealer = Sealer(OneKey())
        self._calls = [new_call_id() for _ in range(calls)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.sent: dict[RecordId, tuple[CallId, int]] = {}
        """Acknowledged: which call's block of which number."""
        self.refusals = 0
        self.longest_append_s = 0.0
        """Longest time from the first attempt to the acknowledgement."""
        self.failure: BaseException | None = None

    @property
    def log(self) -> EventLog:
        return self._log

    def __enter__(self) -> Load:
        self._thread.start()
        self.until_flowing()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

    def stop(self) -> None:
        """Stop when the last append has been acknowledged."""
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def until_flowing(self, blocks: int = 300) -> None:
        """Wait until so many more blocks have been acknowledged."""
        before = len(self.sent)
        until(lambda: len(self.sent) >= before + blocks or not self._thread.is_alive(), "blocks are acknowledged")

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self.failure = error

    def _write(self) -> None:
        started, done = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - started) * 1000 / BLOCK_MS)
            if due <= done:
                self._stop.wait(0.005)
                continue
            due = min(due, done + 20)
            blocks = [(call, number) for number in range(done, due) for call in self._calls]
            events = [self._block(call, number) for call, number in blocks]
            self._insist(events)
            self.sent.update({event.id: block for event, block in zip(events, blocks, strict=True)})
            done = due

    def _insist(self, events: Sequence[Event]) -> None:
        begun = time.monotonic()
        while True:
            try:
                self._log.append(BLOCKS, events)
                break
            except LogUnavailable:
                self.refusals += 1
                time.sleep(_AGAIN_S)
        self.longest_append_s = max(self.longest_append_s, time.monotonic() - begun)

    def _block(self, call: CallId, number: int) -> Event:
        start = number * _SAMPLES
        block = AudioBlock(call, 0, Role.AGENT, Encoding.PCMU, 8000, start, _SAMPLES, os.urandom(_SAMPLES))
        return self._sealer.event(BLOCKS, block)


class Listener:
    """A member of a group that reads along and commits; notes what it got when, from a thread of its own."""

    def __init__(self, open_log: OpenLog, group: str = "listener", topic: Topic = BLOCKS) -> None:
        self._open_log = open_log
        self._group = Group(group)
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener")
        self.got: list[RecordId] = []
        self.longest_delay_ms = 0
        self.held = 0
        """Partitions that are read by this member now."""

    def __enter__(self) -> Listener:
        self._thread.start()
        until(lambda: self.held, "a reader is given partitions")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.held = 0

    def _run(self) -> None:
        log = self._open_log()
        while not self._stop.is_set():
            try:
                deliveries = log.read([self._topic], self._group, 500, 0.2)
                now = time.time_ns() // 1_000_000
                self.held = len(log.assignment(self._group))
                for delivery in deliveries:
                    self.got.append(delivery.event.id)
                    self.longest_delay_ms = max(self.longest_delay_ms, now - delivery.event.at_ms)
                for partition in {delivery.partition for delivery in deliveries}:
                    last = [delivery for delivery in deliveries if delivery.partition == partition][-1]
                    log.commit(self._group, last.after)
            except LogUnavailable:
                time.sleep(_AGAIN_S)
        log.close()


def everything(open_log: OpenLog, topic: Topic, enough: Callable[[set[RecordId]], bool]) -> list[Event]:
    """Read a topic from its start, in order within each partition, until `enough` of it is there and no more comes."""
    log = open_log()
    group = Group(f"account-{os.urandom(4).hex()}")
    found: list[Event] = []
    seen: set[RecordId] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            deliveries = log.read([topic], group, 5000, 1.0)
        except LogUnavailable:
            time.sleep(_AGAIN_S)
            continue
        if not deliveries and enough(seen):
            break
        found += [delivery.event for delivery in deliveries]
        seen.update(delivery.event.id for delivery in deliveries)
    log.close()
    return found


def account(sent: dict[RecordId, tuple[CallId, int]], found: Sequence[Event]) -> Account:
    """Compare what was acknowledged with what lies in the log."""
    copies = Counter(event.id for event in found)
    contents: dict[RecordId, bytes] = {}
    contradictory: set[RecordId] = set()
    latest: dict[CallId, int] = {}
    out_of_order = 0
    for event in found:
        known = contents.setdefault(event.id, event.value)
        if known is not event.value:
            if known != event.value:
                contradictory.add(event.id)
            continue
        place = sent.get(event.id)
        if place is None:
            continue
        call, number = place
        if number < latest.get(call, -1):
            out_of_order += 1
        latest[call] = max(number, latest.get(call, -1))
    return Account(
        len(sent),
        sum(1 for identity in sent if identity in copies),
        sum(count - 1 for count in copies.values()),
        len(contradictory),
        out_of_order,
    )
