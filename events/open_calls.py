"""Which calls a stage is in the middle of, and from where a successor would have to read them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from events.identity import CallId
from events.log import Delivery, Position, TopicPartition


@dataclass(frozen=True, slots=True)
class OpenCallsSettings:
    longest_h: float = 12.0
    """A call that has been open for longer, by the times of its events, no longer holds its partition."""
    silent_h: float = 2.0
    """Nor does one of which nothing came for this long while other calls went on."""
    remembered: int = 20_000
    """So many finished calls are known, so that late records do not open them again."""

    def __post_init__(self) -> None:
        if not 0 < self.silent_h <= self.longest_h:
            raise ValueError("Of the bounds on open calls, 0 < silent_h <= longest_h must hold.")


@dataclass(slots=True)
class _Opened:
    first_offset: int
    first_ms: int
    last_ms: int


class OpenCalls:
    """First position of every unfinished call, per partition. Used by one thread.

    A handler notes each delivery of a call that it has state of, says when a call is done, and answers the
    loop's `unfinished` from here.
    """

    def __init__(self, settings: OpenCallsSettings | None = None) -> None:
        settings = settings or OpenCallsSettings()
        self._longest_ms = settings.longest_h * 3_600_000
        self._silent_ms = settings.silent_h * 3_600_000
        self._remembered = settings.remembered
        # Deliveries of a partition come in order, so the first entry has the smallest offset.
        self._open: dict[TopicPartition, OrderedDict[CallId, _Opened]] = {}
        self._newest_ms: dict[TopicPartition, int] = {}
        self._done: OrderedDict[CallId, None] = OrderedDict()
        self._expired: list[CallId] = []

    def note(self, delivery: Delivery) -> bool:
        """Note that this record belongs to an unfinished call; False when the call was done with before."""
        call = CallId(delivery.event.key)
        if call in self._done:
            return False
        where, at_ms = delivery.partition, delivery.event.at_ms
        calls = self._open.setdefault(where, OrderedDict())
        opened = calls.get(call)
        if opened is None:
            calls[call] = _Opened(delivery.offset, at_ms, at_ms)
        else:
            opened.last_ms = max(opened.last_ms, at_ms)
        self._newest_ms[where] = max(self._newest_ms.get(where, at_ms), at_ms)
        self._expire(where)
        return True

    def done(self, call: CallId) -> None:
        """The call needs no replay any more."""
        for calls in self._open.values():
            calls.pop(call, None)
        self._done[call] = None
        self._done.move_to_end(call)
        while len(self._done) > self._remembered:
            self._done.popitem(last=False)

    def is_done(self, call: CallId) -> bool:
        return call in self._done

    def unfinished(self, partition: TopicPartition) -> Position | None:
        """Return the smallest position that an unfinished call of the partition needs."""
        calls = self._open.get(partition)
        if not calls:
            return None
        return Position(partition, next(iter(calls.values())).first_offset)

    def revoked(self, partitions: Iterable[TopicPartition]) -> frozenset[CallId]:
        """Forget these partitions; return the calls whose state the handler has to forget."""
        lost: set[CallId] = set()
        for partition in partitions:
            lost.update(self._open.pop(partition, ()))
            self._newest_ms.pop(partition, None)
        for calls in self._open.values():
            for call in lost:
                calls.pop(call, None)
        # Another member may leave one of them unfinished and hand it back: nothing is known of it here then.
        return frozenset(lost)

    def expired(self) -> list[CallId]:
        """Return the calls that were dropped since the last question because they were open for too long."""
        expired, self._expired = self._expired, []
        return expired

    def __len__(self) -> int:
        return len({call for calls in self._open.values() for call in calls})

    def __contains__(self, call: object) -> bool:
        return any(call in calls for calls in self._open.values())

    def _expire(self, where: TopicPartition) -> None:
        calls, newest = self._open[where], self._newest_ms[where]
        while calls:
            call, oldest = next(iter(calls.items()))
            if newest - oldest.first_ms <= self._longest_ms and newest - oldest.last_ms <= self._silent_ms:
                return
            self.done(call)
            self._expired.append(call)
