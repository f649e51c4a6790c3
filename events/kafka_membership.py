"""Being a member of a Kafka consumer group, on a thread of its own.

The member takes part in every rebalance at once, whatever its reader is doing: a handler that takes minutes
neither loses its partitions nor makes the other members wait. Fetching is not done here (see `kafka_reader`), so
a rebalance in progress stops nobody's reading either. What the group takes away is claimed until the reader has
let it go: only then is it given to another member.

kafka-python 3.0 does not tell in public whether a join is due, nor take a wish to join again; both are asked of its
coordinator (`_coordinator`), here alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from kafka import ConsumerRebalanceListener, OffsetAndMetadata
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors

from events.errors import CallwardenError, LogUnavailable
from events.kafka_assignor import ByNumberAssignor
from events.kafka_connection import in_our_words, new_member, translated
from events.kafka_diagnosis import nobody_there
from events.kafka_settings import KafkaRefused, KafkaSettings

_log = logging.getLogger(__name__)

_TICK_S: Final = 0.25
_POLL_MS: Final = 1000
"""A poll that ends in the middle of a join can leave the library's member joining for ever; so it is long."""
_STUCK_S: Final = 60.0
_AGAIN_S: Final = 0.1
_LEAVE_S: Final = 2.0

_GONE = (
    kafka_errors.CommitFailedError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.FencedInstanceIdError,
)
"""The group goes on without us; it lets us in again at the next poll."""


class KafkaMembership:
    """One member of one group.

    Parameters
    ----------
    group
        The group's full name on the cluster.
    topics
        Full names of the topics that every member of the group reads.
    """

    def __init__(self, settings: KafkaSettings, group: str, topics: Sequence[str]) -> None:
        self._settings = settings
        self._group = group
        self._topics = list(topics)
        self._changed = threading.Condition()
        self._assigned: set[KafkaPartition] = set()
        self._claimed: set[KafkaPartition] = set()
        """Taken away by the group, not let go by the reader."""
        self._reading: frozenset[KafkaPartition] = frozenset()
        self._busy_since = 0.0
        self._joined = False
        self._losses = 0
        self._rejoin = False
        self._closing = False
        self._trouble: CallwardenError | None = None
        self._away_since: float | None = None
        self._consumer: Any = None
        self._thread = threading.Thread(target=self._run, name=f"kafka-member-{group}", daemon=True)
        self._thread.start()

    # For the reader's thread

    @property
    def losses(self) -> int:
        """How often the group went on without this member; positions read before count no more."""
        return self._losses

    def wait_until_joined(self, within_s: float) -> None:
        """Return when the group has let this member in. Raises LogUnavailable after `within_s`, or at once when
        a person has to change something."""
        if self._joined:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._joined or isinstance(self._trouble, KafkaRefused), within_s)
            if not self._joined:
                raise self._trouble or LogUnavailable(
                    f"Kafka group {self._group} did not let this reader in within {within_s:g} s."
                )

    @property
    def at_rest(self) -> bool:
        """Whether the group can take positions now; false while it rebalances or cannot be reached."""
        consumer = self._consumer
        return consumer is not None and self._is_at_rest(consumer._coordinator)

    def check(self) -> None:
        """Raise LogUnavailable when the group could not be reached for longer than a session lasts."""
        since = self._away_since
        if since is not None and time.monotonic() - since > self._settings.session_s:
            raise self._trouble or nobody_there(self._settings)

    def assigned(self) -> frozenset[KafkaPartition]:
        with self._changed:
            return frozenset(self._assigned)

    def reads(self, partitions: Collection[KafkaPartition]) -> frozenset[KafkaPartition]:
        """Say which partitions the reader is busy with from now on; return those that it may be busy with.

        Partitions of before that are missing are let go; positions in them must have been committed.
        """
        with self._changed:
            self._reading = frozenset(self._assigned.intersection(partitions))
            if self._claimed - self._reading:
                self._rejoin = True
                self._changed.notify_all()
            self._claimed &= self._reading
            return self._reading

    def holds(self, where: KafkaPartition) -> bool:
        return where in self._assigned or where in self._claimed

    def commit(self, offsets: Mapping[KafkaPartition, int], within_s: float) -> None:
        """Commit positions. Those of partitions that are no longer held are left out.

        Raises LogUnavailable when the group cannot take them within `within_s`, as while it rebalances.
        """
        deadline = time.monotonic() + within_s
        what = f"take positions of group {self._group}"
        while True:
            consumer = self._consumer
            mine = {
                where: OffsetAndMetadata(offset, "", -1) for where, offset in offsets.items() if self.holds(where)
            }
            if not mine:
                return
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise LogUnavailable(f"The Kafka brokers at {self._settings.bootstrap} cannot {what} now.")
            try:
                if consumer is not None and self._joined:
                    with in_our_words(self._settings, what):
                        self._commit_once(consumer, mine, left_s)
                    return
            except _NotNow:
                pass
            with self._changed:
                self._changed.wait(min(_AGAIN_S, left_s))

    def _commit_once(self, consumer: Any, offsets: dict[KafkaPartition, Any], within_s: float) -> None:
        try:
            consumer.commit(offsets, timeout_ms=round(within_s * 1000))
        except (kafka_errors.RebalanceInProgressError, *_GONE):
            raise _NotNow from None

    def close(self) -> None:
        """Leave the group."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_LEAVE_S + _POLL_MS / 1000 + self._settings.connect_within_s)

    # The member's thread

    def _run(self) -> None:
        unstable_since = time.monotonic()
        while not self._closing:
            try:
                if self._consumer is None:
                    self._consumer = self._connect()
                    unstable_since = time.monotonic()
                if self._poll(self._consumer):
                    unstable_since = time.monotonic()
                    if self._trouble is not None:
                        _log.info("Reading for Kafka group %s goes on.", self._group)
                    self._away_since = self._trouble = None
                elif self._consumer._coordinator.coordinator_unknown():
                    unstable_since = time.monotonic()  # nobody to be stuck with
                elif time.monotonic() - unstable_since > _STUCK_S:
                    _log.warning("Kafka group %s does not come to rest; its member here begins anew.", self._group)
                    self._disconnect()
                    self.lost()
            except (kafka_errors.KafkaError, OSError, RuntimeError, LogUnavailable) as error:
                self._note(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, 4 * _TICK_S)
        self._disconnect()

    def _connect(self) -> Any:
        assignor = ByNumberAssignor(self._claims, lambda partitions: self._given(consumer, partitions))
        consumer = new_member(self._settings, self._group, assignor)
        # The metadata has to be there before joining: a change of it would start a second join at once.
        for topic in self._topics:
            consumer.partitions_for_topic(topic)
        consumer.subscribe(self._topics, listener=_Listener(self))
        return consumer

    def _poll(self, consumer: Any) -> bool:
        coordinator = consumer._coordinator
        with self._changed:
            if self._rejoin:
                self._rejoin = False
                coordinator.request_rejoin()
            elif self._claimed and time.monotonic() - self._busy_since > self._settings.hand_over_within_s:
                _log.warning(
                    "A reader of Kafka group %s has been busy with one batch for more than %g s; partitions that "
                    "another member is to have are handed over, and what was not committed is done again there.",
                    self._group,
                    self._settings.hand_over_within_s,
                )
                self._claimed.clear()
                coordinator.request_rejoin()
        # Without anything to do a poll is a look at the clock; with a join to be done it waits for its end.
        unknown = coordinator.coordinator_unknown()
        if not unknown:
            self._away_since = None  # a join may take as long as the session of a member that died
        elif self._away_since is None:
            self._away_since = time.monotonic()
        if unknown or coordinator.need_rejoin():
            consumer.poll(timeout_ms=_POLL_MS, max_records=1)
            return self._is_at_rest(coordinator)
        consumer.poll(timeout_ms=0, max_records=1)
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._rejoin, _TICK_S)
        return self._is_at_rest(coordinator)

    @staticmethod
    def _is_at_rest(coordinator: Any) -> bool:
        return bool(
            coordinator.stable() and not coordinator.need_rejoin() and not coordinator.coordinator_unknown()
        )

    def _note(self, error: BaseException) -> None:
        trouble = (
            error
            if isinstance(error, LogUnavailable)
            else translated(self._settings, error, f"let a reader into group {self._group}")
        )
        with self._changed:
            if self._trouble is None:
                _log.warning("Reading for Kafka group %s waits: %s", self._group, trouble)
            self._trouble = trouble
            if self._away_since is None:
                self._away_since = time.monotonic()
            self._changed.notify_all()

    def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close(autocommit=False, timeout_ms=round(_LEAVE_S * 1000))
        except (kafka_errors.KafkaError, OSError, RuntimeError) as error:
            _log.info("Leaving Kafka group %s failed (%s).", self._group, type(error).__name__)

    # Called by the library, on its thread

    def _claims(self) -> set[KafkaPartition]:
        with self._changed:
            return self._assigned | self._claimed

    def _given(self, consumer: Any, partitions: frozenset[KafkaPartition]) -> None:
        added = partitions - self._assigned
        # This consumer is there for the membership alone: it must not fetch.
        for where in added:
            consumer.seek(where, 0)
        consumer.pause(*added)
        with self._changed:
            if not self._claimed:
                self._busy_since = time.monotonic()
            self._claimed.update(self._reading.intersection(self._assigned - partitions))
            self._claimed -= partitions
            self._assigned = set(partitions)
            self._joined = True
            self._changed.notify_all()

    def lost(self) -> None:
        """The group went on without this member: others may have everything it had."""
        with self._changed:
            self._assigned.clear()
            self._claimed.clear()
            self._losses += 1


class _NotNow(Exception):
    """The group is in the middle of a rebalance."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears of losses; of everything else the assignor tells, also when nothing was given."""

    def __init__(self, member: KafkaMembership) -> None:
        self._member = member

    def on_partitions_assigned(self, assigned: Collection[KafkaPartition]) -> None: ...

    def on_partitions_revoked(self, revoked: Collection[KafkaPartition]) -> None: ...

    def on_partitions_lost(self, lost: Collection[KafkaPartition]) -> None:
        self._member.lost()
