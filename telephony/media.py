"""Calls on the receive path: plans and packets in, the call's records out, in order. One thread, `Media.run`."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from events.audio import AudioBlock, CallAudioEnded, LegAudioEnded
from events.clock import Clock
from events.identity import CallId
from events.lifecycle import CallEnded, CaptureInterrupted, EndReason, LegStatistics
from events.metrics import (
    CALLS_ENDED,
    CALLS_STARTED,
    CALLS_UP,
    RTP_DUPLICATE,
    RTP_LATE,
    RTP_LOST,
    RTP_REORDERED,
    gauge,
)
from events.metrics import count as count_metric
from telephony.call_store import CallState, LegState, StoredCall
from telephony.journal import Batch
from telephony.leg import LEG, RATE, statistics
from telephony.live_call import LiveCall, samples_to_ms
from telephony.plan import CallPlan
from telephony.receiver import Cut, Receiver
from telephony.source import SourceRecord

logger = logging.getLogger(__name__)

_IDLE_WAIT_S: Final = 0.2
_CHECK_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class MediaSettings:
    media_timeout_s: float = 60.0
    """A call with no packet on any leg for this long ends."""
    held_timeout_s: float = 7200.0
    """The same while every leg is on hold."""
    linger_ms: int = 120
    """How long after the hang-up packets that were overtaken by it are still taken."""

    def __post_init__(self) -> None:
        if not 0 < self.media_timeout_s <= self.held_timeout_s:
            raise ValueError("The media timeout is positive and not longer than that of a held call.")
        if not 0 <= self.linger_ms <= 2000:
            raise ValueError("A call lingers at most 2000 ms after the hang-up.")


class Journal(Protocol):
    """Where media leaves its records, see `journal.Journal`."""

    def put(self, batch: Batch) -> None:
        """Take a batch; never blocks, never raises."""
        ...


class Media:
    """The thread of packets and blocks.

    All methods but `run` may be called from any thread; they leave a command and wake the thread. `timed_out` is
    called from the media thread with calls that have had no packet for too long, `freed` with calls whose ports
    are free again.
    """

    def __init__(
        self,
        receiver: Receiver,
        ports: Sequence[int],
        journal: Journal,
        settings: MediaSettings,
        clock: Clock,
        timed_out: Callable[[CallId], None],
        freed: Callable[[CallPlan], None],
    ) -> None:
        self._receiver = receiver
        self._slot_of = {port: slot for slot, port in enumerate(ports)}
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._timed_out = timed_out
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._calls: dict[CallId, LiveCall] = {}
        self._by_slot: dict[int, tuple[LiveCall, int]] = {}
        self._out: list[SourceRecord] = []
        self._touched: dict[tuple[CallId, int], int] = {}
        self._changed: dict[CallId, None] = {}
        self._over: list[CallPlan] = []
        self._waiting: dict[CallId, LiveCall] = {}
        self._ending: list[tuple[float, CallId, EndReason]] = []
        self._next_check = 0.0
        self.running = threading.Event()
        """Set once restored calls have been taken up."""
        self._freed = freed

    def apply(self, plan: CallPlan) -> Future[None]:
        """Bring a call, new or known, to what `plan` says; the future is done when packets are taken accordingly."""
        done: Future[None] = Future()

        def command() -> None:
            try:
                self._apply(plan)
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)

        self._command(command)
        return done

    def end(self, call: CallId, reason: EndReason) -> None:
        """End a call after the linger; ending it twice does nothing."""
        self._command(lambda: self._end_soon(call, reason))

    def restore(self, calls: Sequence[StoredCall]) -> None:
        """Take up the calls of a process that died."""
        self._command(lambda: self._restore(calls))

    @property
    def calls_up(self) -> int:
        return len(self._calls)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then end what is up."""
        self._obey()  # calls of a process that died are taken up before their ports are read
        self._hand_over()
        self.running.set()
        while not stop.is_set():
            self._turn(self._receiver.poll(_IDLE_WAIT_S))
        self._obey()
        for call in list(self._calls):
            self._finish(call, EndReason.SHUT_DOWN)
        self._hand_over()

    def _command(self, command: Callable[[], None]) -> None:
        self._commands.put(command)
        self._receiver.wake()

    def _turn(self, cuts: Iterable[Cut]) -> None:
        for cut in cuts:
            self._keep(cut)
        self._obey()
        self._begin_started()
        self._end_due()
        self._check_timeouts()
        self._hand_over()

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            try:
                command()
            except Exception:
                logger.exception("A change of one call failed; the other calls go on.")

    def _keep(self, cut: Cut) -> None:
        live, leg = self._by_slot[cut.slot]
        if not live.started:
            self._begin(live)
        self._out.append(
            AudioBlock(
                live.call,
                leg,
                live.roles[leg],
                cut.encoding,
                RATE,
                cut.start_sample,
                cut.samples,
                cut.payload,
                cut.gaps,
            )
        )
        self._touched[live.call, leg] = cut.slot
        if live.interruption is not None:
            live.interruption.learn(leg, cut.start_sample, cut.samples, cut.gaps)
            if not live.interruption.open_legs:
                self._close_interruption(live)

    def _begin_started(self) -> None:
        for live in list(self._waiting.values()):
            if self._receiver.table.t0_ns[live.slots[0]] >= 0:
                self._begin(live)

    def _begin(self, live: LiveCall) -> None:
        t0_ns = int(self._receiver.table.t0_ns[live.slots[0]])
        since_ms = (self._receiver.now_ns() - t0_ns) // 1_000_000 if t0_ns >= 0 else 0
        self._out.extend(live.begin(self._clock.now_ms() - since_ms))
        self._waiting.pop(live.call, None)
        self._changed[live.call] = None
        count_metric(CALLS_STARTED, source=live.plan.source.value)

    def _apply(self, plan: CallPlan) -> None:
        live = self._calls.get(plan.call)
        if live is None:
            live = LiveCall(plan.call, self._receiver.now_ns())
            self._calls[plan.call] = live
            self._waiting[plan.call] = live
        receiver = self._receiver
        for leg in plan.legs:
            if leg.leg >= len(live.slots):
                slot = self._slot_of[leg.port]
                live.slots.append(slot)
                self._by_slot[slot] = (live, leg.leg)
                receiver.open_leg(slot, live.slots[0], leg.encoding, leg.payload_kinds)
            slot = live.slots[leg.leg]
            receiver.set_kinds(slot, leg.payload_kinds)
            row = receiver.table.legs[slot]
            if leg.announced:
                row["announced"] = leg.announced
            sample = self._sample(live)
            if leg.held and not row["held"]:
                row["held"], row["hold_from"], row["hold_to"] = 1, sample, 0
            elif not leg.held and row["held"]:
                row["held"], row["hold_to"] = 0, sample
        self._out.extend(live.agree(plan, self._call_ms(live)))
        self._changed[plan.call] = None
        gauge(CALLS_UP, len(self._calls))

    def _sample(self, live: LiveCall) -> int:
        if self._receiver.table.t0_ns[live.slots[0]] < 0:
            return 0
        return self._receiver.call_sample(live.slots[0], self._receiver.now_ns())

    def _call_ms(self, live: LiveCall) -> int:
        return samples_to_ms(self._sample(live))

    def _end_soon(self, call: CallId, reason: EndReason) -> None:
        if call in self._calls and all(call != other for _, other, _ in self._ending):
            self._ending.append((self._clock.monotonic() + self._settings.linger_ms / 1000, call, reason))

    def _end_due(self) -> None:
        now = self._clock.monotonic()
        for due in [one for one in self._ending if one[0] <= now]:
            self._ending.remove(due)
            self._finish(due[1], due[2])

    def _finish(self, call: CallId, reason: EndReason) -> None:
        live = self._calls[call]
        receiver = self._receiver
        for cut in receiver.read(live.slots):
            self._keep(cut)
        if not live.started:
            self._begin(live)
        ended: list[LegStatistics] = []
        ends: list[LegAudioEnded] = []
        for leg, slot in enumerate(live.slots):
            for cut in receiver.finish(slot):
                self._keep(cut)
            row = receiver.table.legs[slot]
            ended.append(statistics(leg, row))
            ends.append(LegAudioEnded(call, leg, live.roles[leg], RATE, int(row["cut"])))
        self._close_interruption(live)
        last = max((end.end_sample for end in ends), default=0)
        duration_ms = samples_to_ms(last)
        self._out.extend(ends)
        self._out.append(CallAudioEnded(call, tuple(range(len(live.slots))), duration_ms))
        self._out.append(CallEnded(call, self._clock.now_ms(), duration_ms, reason, tuple(ended)))
        for slot in live.slots:
            receiver.close_leg(slot)
            del self._by_slot[slot]
            for key in [key for key, touched in self._touched.items() if touched == slot]:
                del self._touched[key]
        del self._calls[call]
        self._waiting.pop(call, None)
        self._changed.pop(call, None)
        self._over.append(live.plan)
        _count_ended(reason, ended)
        gauge(CALLS_UP, len(self._calls))

    def _check_timeouts(self) -> None:
        now = self._clock.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + _CHECK_EVERY_S
        table = self._receiver.table
        for live in self._calls.values():
            rows = table.legs[live.slots]
            newest = max(int(rows["last_packet_ns"].max()), live.opened_ns) / 1e9
            limit = self._settings.held_timeout_s if rows["held"].all() else self._settings.media_timeout_s
            if now - newest > limit and not live.told_timeout:
                live.told_timeout = True
                logger.warning("Call %s has had no media for %.0f s and ends.", live.call, limit)
                self._timed_out(live.call)

    def _restore(self, calls: Sequence[StoredCall]) -> None:
        receiver, now_ns = self._receiver, self._receiver.now_ns()
        legs = receiver.table.legs
        for stored in calls:
            kept = stored.kept
            self._apply(stored.plan if kept is None else kept.plan)
            live = self._calls[stored.plan.call]
            if kept is None:
                continue
            live.load(kept)
            receiver.table.t0_ns[live.slots[0]] = kept.t0_ns
            for leg, row in stored.rows.items():
                slot = live.slots[leg]
                legs[slot] = np.frombuffer(row, LEG)[0]
                legs[slot]["call"] = live.slots[0]
                legs[slot]["frontier"] = legs[slot]["cut"]
            if kept.t0_ns < 0:
                continue
            back_at = receiver.call_sample(live.slots[0], now_ns)
            for slot in live.slots:
                legs[slot]["restored"] = legs[slot]["anchored"]
                legs[slot]["down_until"] = back_at
            live.interrupt([int(legs[slot]["cut"]) for slot in live.slots], back_at, kept.interrupted_at)
            if live.started:
                self._waiting.pop(live.call, None)
        # What the system kept while no process ran is read before the clock moves any leg on.
        for cut in receiver.read(list(self._by_slot)):
            self._keep(cut)
        for stored in calls:
            self._apply(stored.plan)
            if stored.ended is not None:
                self._end_soon(stored.plan.call, stored.ended)

    def _close_interruption(self, live: LiveCall) -> None:
        hole = live.interruption
        if hole is not None:
            live.interruption = None
            self._changed[live.call] = None
            self._out.append(
                CaptureInterrupted(live.call, samples_to_ms(hole.from_sample), samples_to_ms(hole.to_sample))
            )

    def _hand_over(self) -> None:
        if not (self._out or self._changed or self._over):
            return
        table = self._receiver.table
        legs = []
        for (call, leg), slot in self._touched.items():
            legs.append(LegState(call, leg, table.legs[slot].tobytes()))
        calls = [
            CallState(call, self._calls[call].keep(int(table.t0_ns[self._calls[call].slots[0]])))
            for call in self._changed
        ]
        calls += [CallState(plan.call, None) for plan in self._over]
        self._journal.put(Batch(tuple(self._out), tuple(legs), tuple(calls)))
        for plan in self._over:
            self._freed(plan)
        self._out, self._over = [], []
        self._touched.clear()
        self._changed.clear()


def _count_ended(reason: EndReason, legs: Sequence[LegStatistics]) -> None:
    count_metric(CALLS_ENDED, reason=reason.value)
    for metric, name in (
        (RTP_LOST, "lost"),
        (RTP_LATE, "late"),
        (RTP_DUPLICATE, "duplicate"),
        (RTP_REORDERED, "reordered"),
    ):
        total = sum(getattr(leg, name) for leg in legs)
        if total:
            count_metric(metric, total)
