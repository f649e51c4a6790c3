"""A thread that delivers what the outbox owes, with retries, so that a slow receiver holds nothing up."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from compliance.alerts.alert import delivered
from compliance.alerts.channels import Channel, DeliveryFailed
from compliance.alerts.outbox import Outbox, OutboxUnavailable, Owed
from events import metrics
from events.clock import Clock, SystemClock

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DispatcherSettings:
    first_wait_s: float = 1.0
    longest_wait_s: float = 300.0
    """Waits between attempts double from the first to the longest."""
    jitter_s: float = 1.0
    """Up to so much is added to each wait, so that receivers that come back are not met by everything at once."""
    most_attempts: int = 20
    """About an hour and a quarter with the other defaults; then the delivery has failed."""
    at_once: int = 4
    """Deliveries of a channel under way at one time."""
    lease_s: float = 60.0
    """An attempt must take less; behind it, another process may try what this one has taken."""

    def __post_init__(self) -> None:
        if not 0 < self.first_wait_s <= self.longest_wait_s or self.jitter_s < 0:
            raise ValueError(
                "Of a dispatcher's waits, 0 < first_wait_s <= longest_wait_s and jitter_s >= 0 must hold."
            )
        if self.most_attempts < 1 or self.at_once < 1 or self.lease_s <= 0:
            raise ValueError(
                "A dispatcher makes at least one attempt, one at a time, under a lease of more than 0 s."
            )


class Dispatcher:
    """Delivers the alerts of one channel. `start` and `close` it; `wake` it when something new is owed."""

    def __init__(
        self,
        outbox: Outbox,
        channel: Channel,
        settings: DispatcherSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Raises ValueError where an attempt could outlast its lease, and be made twice at once."""
        self._outbox = outbox
        self._channel = channel
        self._settings = settings or DispatcherSettings()
        if self._settings.lease_s <= channel.longest_attempt_s:
            raise ValueError("A dispatcher's lease_s is longer than its channel's timeout_s.")
        self._clock = clock or SystemClock()
        bounds = self._settings
        self._wait = wait_exponential(bounds.first_wait_s, bounds.longest_wait_s) + wait_random(0, bounds.jitter_s)
        self._changed = threading.Event()
        self._stopping = False
        self._under_way: set[Future[None]] = set()
        self._pool = ThreadPoolExecutor(self._settings.at_once, f"alert-{channel.name}")
        self._thread = threading.Thread(target=self._run, name=f"alerts-{channel.name}", daemon=True)

    @property
    def channel(self) -> str:
        return self._channel.name

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        self._changed.set()

    def close(self) -> None:
        """Stop. Attempts under way are waited for; what is owed stays in the outbox."""
        self._stopping = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True)
        self._channel.close()

    def _run(self) -> None:
        while not self._stopping:
            self._changed.clear()
            try:
                self._changed.wait(self._deliver_due())
            except OutboxUnavailable as error:
                _LOG.warning("Alerts wait: %s", error)
                self._changed.wait(self._settings.first_wait_s)

    def _deliver_due(self) -> float | None:
        """Start what is due; return how long there is nothing to do, None for until woken."""
        self._under_way = {future for future in self._under_way if not future.done()}
        free = self._settings.at_once - len(self._under_way)
        if free == 0:
            return None
        now_ms = self._clock.now_ms()
        for owed in self._outbox.take_due(self.channel, now_ms, round(self._settings.lease_s * 1000), free):
            self._under_way.add(self._pool.submit(self._attempt, owed))
        due_ms = self._outbox.next_due_ms(self.channel)
        if due_ms is None or len(self._under_way) >= self._settings.at_once:
            return None
        return max(0.0, (due_ms - now_ms) / 1000)

    def _attempt(self, owed: Owed) -> None:
        try:
            self._attempt_and_note(owed)
        except OutboxUnavailable as error:
            # The lease runs out, and it is tried again: the receiver may get it twice, never not at all.
            _LOG.warning("How a delivery ended could not be noted: %s", error)
        except Exception:
            _LOG.exception("A delivery to %s failed in an unforeseen way.", self.channel)
        finally:
            self._changed.set()

    def _attempt_and_note(self, owed: Owed) -> None:
        attempts = owed.attempts + 1
        try:
            self._channel.send(owed.alert)
        except DeliveryFailed as error:
            if attempts < self._settings.most_attempts:
                wait_s = max(self._wait_s(attempts), error.retry_after_s)
                self._outbox.put_off(owed, self._clock.now_ms() + round(wait_s * 1000))
                return
            _LOG.error("Alert %s was not delivered to %s: %s", owed.alert.id, self.channel, error)
            self._finish(owed, False, attempts, str(error))
        else:
            self._finish(owed, True, attempts, "")

    def _finish(self, owed: Owed, success: bool, attempts: int, reason: str) -> None:
        at_ms = self._clock.now_ms()
        self._outbox.finish(delivered(owed.alert, self.channel, success, attempts, at_ms, reason))
        outcome = "delivered" if success else "failed"
        metrics.count(metrics.ALERT_DELIVERIES, channel=self.channel, outcome=outcome)

    def _wait_s(self, attempts: int) -> float:
        """Return tenacity's wait behind attempt number `attempts`.

        Its own loop is not used: a wait must be able to outlast this process.
        """
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = attempts
        return float(self._wait(state))
