"""The embedded driver of the event log: one SQLite file per topic, one folder per consumer group.

Why it is built this way: docs/decisions/0002-positions-and-groups.md.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from events import metrics
from events.bell import BellListener
from events.group_files import GroupMember, committed_in, purge_ephemeral
from events.log import Delivery, Event, Group, Position, StartAt, TopicPartition
from events.sqlite_topic import TopicFile, translate
from events.topics import Topic

_MISSED_BELLS_BEFORE_POLLING: Final = 3


@dataclass(frozen=True, slots=True)
class SqliteLogSettings:
    most_rows_per_commit: int = 4000
    """Batches that wait are committed together up to this many events; one larger batch goes alone."""
    wal_limit_mb: int = 64
    """A topic's write-ahead log is folded back by force when it is longer."""
    busy_s: float = 10.0
    """How long SQLite may wait for another process before the log counts as unavailable."""
    balance_s: float = 0.3
    """How often a reading member looks for members that came or went."""
    look_again_s: float = 0.1
    """A waiting reader looks by itself this often, in case that it was not woken."""
    tail_keep_h: float = 24.0
    """A group that starts at the end, committed something and has no members is forgotten after this time."""

    def __post_init__(self) -> None:
        if self.most_rows_per_commit < 1 or self.wal_limit_mb < 8:
            raise ValueError("The event log needs at least 1 event per commit and 8 MB of write-ahead log.")
        if not 0 < self.look_again_s <= self.balance_s <= 1 <= self.busy_s:
            raise ValueError("Of the event log's times, look_again_s <= balance_s <= 1 <= busy_s must hold.")


@dataclass(slots=True)
class _Place:
    """Where a member is in one topic."""

    next_offsets: dict[int, int] = field(default_factory=dict)
    idle_version: int | None = None
    """The file's version at which nothing was left to read; None when something may be."""


@dataclass(slots=True)
class _Membership:
    member: GroupMember
    places: dict[str, _Place] = field(default_factory=dict)
    topics: Sequence[Topic] = ()
    """Those of the last read."""
    partitions_of: dict[str, int] = field(default_factory=dict)
    """Partition count of every topic read so far."""
    turn: int = 0


class SqliteLog:
    """EventLog on SQLite; see `events.log` for the laws.

    Parameters
    ----------
    folder
        Where topics and groups lie; created when missing. All processes of one engine share it. It must lie on
        a file system with working locks (not NFS).
    settings
        See `SqliteLogSettings`.

    Open it after a fork, never before: SQLite's connections and file locks do not survive one.
    """

    def __init__(self, folder: Path, settings: SqliteLogSettings | None = None) -> None:
        self._settings = settings or SqliteLogSettings()
        self._folder = folder
        self._groups = folder / "groups"
        self._lock = threading.Lock()
        self._files: dict[str, TopicFile] = {}
        self._memberships: dict[str, _Membership] = {}
        self._listener: BellListener | None = None
        self._missed_bells = 0
        self._closed = False
        try:
            self._groups.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise translate(error, "the event log's folder") from None
        _open_logs.add(self)

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        self._file(topic).append(events)
        if events:
            metrics.count(metrics.EVENTS_APPENDED, len(events), topic=topic.name)

    def read(self, topics: Sequence[Topic], group: Group, most: int, wait_s: float) -> list[Delivery]:
        membership = self._membership(group)
        deadline = time.monotonic() + wait_s
        rung = True
        while True:
            self._balance(membership, topics)
            deliveries = self._take(membership, topics, most)
            left = deadline - time.monotonic()
            if deliveries or left <= 0:
                if deliveries and not rung:
                    self._note_missed_bell()
                return deliveries
            rung = self._wait(topics, min(left, self._settings.look_again_s))

    def commit(self, group: Group, position: Position) -> None:
        membership = self._memberships.get(group.name)
        if membership is None:
            return
        count = membership.partitions_of.get(position.partition.topic, 0)
        if position.partition.partition in membership.member.parts(count):
            membership.member.commit(position)

    def assignment(self, group: Group) -> frozenset[TopicPartition]:
        membership = self._memberships.get(group.name)
        if membership is None:
            return frozenset()
        return frozenset(
            TopicPartition(topic.name, part)
            for topic in membership.topics
            for part in membership.member.parts(topic.partitions)
        )

    def lag(self, group: Group, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        """Events behind each partition's committed position; 100,000 means so many or more."""
        committed = committed_in(self._groups, group, [topic.name for topic in topics])
        behind: dict[TopicPartition, int] = {}
        for topic in topics:
            file = self._file(topic)
            start = 0 if group.start is StartAt.FIRST else file.head()
            partitions = [TopicPartition(topic.name, part) for part in range(topic.partitions)]
            counts = file.lag({where.partition: committed.get(where, start) for where in partitions})
            behind.update({where: counts[where.partition] for where in partitions})
        return behind

    def trim(self, topic: Topic, before_ms: int) -> int:
        """Remove events made before `before_ms`, and groups of tails that are gone.

        Events are looked at oldest first, in short transactions between which writers go on; the search ends at
        500 events of which not every one was old enough.
        """
        purge_ephemeral(self._groups, self._settings.tail_keep_h * 3600)
        return self._file(topic).trim(before_ms)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            memberships, self._memberships = list(self._memberships.values()), {}
            files, self._files = list(self._files.values()), {}
        for membership in memberships:
            membership.member.leave()
        for file in files:
            file.close()
        if self._listener is not None:
            self._listener.close()
        _open_logs.discard(self)

    def _file(self, topic: Topic) -> TopicFile:
        file = self._files.get(topic.name)
        if file is None:
            with self._lock:
                assert not self._closed, "The event log was closed."
                file = self._files.get(topic.name)
                if file is None:
                    settings = self._settings
                    file = TopicFile(
                        self._folder,
                        topic,
                        settings.most_rows_per_commit,
                        settings.wal_limit_mb << 20,
                        settings.busy_s,
                    )
                    self._files[topic.name] = file
        return file

    def _membership(self, group: Group) -> _Membership:
        membership = self._memberships.get(group.name)
        if membership is None:
            assert not self._closed, "The event log was closed."
            keep_s = self._settings.tail_keep_h * 3600
            purge_ephemeral(self._groups, keep_s)
            member = GroupMember(self._groups, group, self._settings.balance_s, keep_s)
            membership = _Membership(member)
            self._memberships[group.name] = membership
        return membership

    def _balance(self, membership: _Membership, topics: Sequence[Topic]) -> None:
        """Take and give up partitions, and find out where to begin in those that are new."""
        membership.topics = topics
        membership.partitions_of.update((topic.name, topic.partitions) for topic in topics)
        membership.member.balance(topic.partitions for topic in topics)
        for topic in topics:
            held = membership.member.parts(topic.partitions)
            place = membership.places.setdefault(topic.name, _Place())
            if held == place.next_offsets.keys():
                continue
            committed = membership.member.committed(topic.name)
            first = membership.member.group.start is StartAt.FIRST
            start = 0 if first else self._file(topic).head()
            place.next_offsets = {
                part: place.next_offsets[part] if part in place.next_offsets else committed.get(part, start)
                for part in held
            }
            place.idle_version = None

    def _take(self, membership: _Membership, topics: Sequence[Topic], most: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        membership.turn += 1
        for step in range(len(topics)):
            topic = topics[(membership.turn + step) % len(topics)]
            place = membership.places[topic.name]
            room = most - len(deliveries)
            if not place.next_offsets or room <= 0:
                continue
            file = self._file(topic)
            version = file.version()
            if version == place.idle_version:
                continue
            reading = file.read(place.next_offsets, room)
            place.next_offsets = reading.next_offsets
            place.idle_version = version if reading.caught_up else None
            deliveries += reading.deliveries
        return deliveries

    def _wait(self, topics: Sequence[Topic], seconds: float) -> bool:
        if self._listener is None:
            self._listener = BellListener()
        for topic in topics:
            self._listener.listen_to(self._file(topic).bell)
        return self._listener.wait(seconds)

    def _note_missed_bell(self) -> None:
        self._missed_bells += 1
        if self._missed_bells == _MISSED_BELLS_BEFORE_POLLING and self._listener is not None:
            self._listener.give_up()

    def _after_fork_in_child(self) -> None:
        """Let go of locks that the parent holds, without unlocking them for it."""
        for membership in self._memberships.values():
            membership.member.release_locks()


_open_logs: weakref.WeakSet[SqliteLog] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for log in _open_logs:
        log._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
