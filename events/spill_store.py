"""Events on the local disk, in the order in which they came, until the event log has taken them.

The store is a row of segments, each a folder with an embedded event log of its own that has one topic of one
partition. New events go into the newest segment, what is taken comes from the oldest, and a segment that is empty
is removed as a whole: so the disk space is really given back, and order is that of the segments' numbers.

A segment whose file is damaged is set aside, under a name that begins with ``damaged-``, and the others go on.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from events.errors import CallwardenError, LogUnavailable, StopConsumer
from events.identity import RecordId
from events.log import Delivery, Event, EventLog, Group
from events.topics import Topic

logger = logging.getLogger(__name__)

OpenLog = Callable[[Path], EventLog]

_DRAIN: Final = Group("drain")
_OWNER: Final = frozenset({"capture"})
SPILLED: Final = Topic("spilled", _OWNER, _OWNER, None, 3650, partitions=1)
"""The one topic of a segment. Its values are sealed as they came."""
_KIND: Final = "spilled"
_GONE: Final = "gone-"
_DAMAGED: Final = "damaged-"
_EVENT_OVERHEAD_BYTES: Final = 256
_RESERVE_BYTES: Final = 4 << 20


class _Spilled(msgspec.Struct, frozen=True, array_like=True):
    """An event and its topic; id and time are the outer event's."""

    topic: str
    kind: str
    value: bytes


class SpillStore:
    """Not for several threads at once: the caller holds a lock.

    Parameters
    ----------
    folder
        Where segments lie; one store, one process.
    open_log
        Opens the embedded event log in a folder.
    topics
        Those whose events may be kept.
    segment_bytes
        Size from which on a new segment is begun.

    Raises
    ------
    LogUnavailable
        Another process holds the folder, or the disk does not answer.
    """

    def __init__(self, folder: Path, open_log: OpenLog, topics: Iterable[Topic], segment_bytes: int) -> None:
        self._folder = folder
        self._open_log = open_log
        self._topics = {topic.name: topic for topic in topics}
        self._segment_bytes = segment_bytes
        self._logs: dict[int, EventLog] = {}
        self._sizes: dict[int, int] = {}
        self._records: dict[int, int] = {}
        self._taken: list[Delivery] = []
        with _translated(folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _hold(folder / "lock")
            for gone in folder.glob(f"{_GONE}*"):
                shutil.rmtree(gone, ignore_errors=True)
            self._segments = sorted(int(one.name) for one in folder.iterdir() if one.name.isdecimal())
        self._look()

    @property
    def records(self) -> int:
        """Events kept and not done with; after a restart of a large spill at least so many."""
        return sum(self._records.values())

    @property
    def bytes(self) -> int:
        """Disk space that the segments take, as the file system counts it."""
        return sum(self._sizes.values())

    @property
    def free_bytes(self) -> int:
        """Space that the disk has left for more events; a little is left for draining and for others."""
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return 0
        return max(0, disk.f_bavail * disk.f_frsize - _RESERVE_BYTES)

    @property
    def is_empty(self) -> bool:
        """Whether there is no segment, and so nothing to take."""
        return not self._segments

    @staticmethod
    def room_for(events: Sequence[Event]) -> int:
        """Bytes that `events` will take at most."""
        return sum(len(event.value) + _EVENT_OVERHEAD_BYTES for event in events)

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        """Keep events durably behind all others, all or none. Raises LogUnavailable."""
        assert topic.name in self._topics, f"Topic {topic.name} is not among those that may be kept."
        wrapped = [_wrap(topic, event) for event in events]
        if not self._segments or self._sizes[self._segments[-1]] >= self._segment_bytes:
            self._begin_segment()
        newest = self._segments[-1]
        try:
            self._log(newest).append(SPILLED, wrapped)
        except StopConsumer as error:
            self._set_aside(newest, error)
            self._begin_segment(newest)
            newest = self._segments[-1]
            self._log(newest).append(SPILLED, wrapped)
        self._records[newest] += len(events)
        self._measure(newest)

    def take(self, most: int) -> list[tuple[Topic, Event]]:
        """Return the oldest events, the same ones until `done` is called; nothing when all is done with."""
        while self._segments and not self._taken:
            oldest = self._segments[0]
            try:
                log = self._log(oldest)
                self._taken = log.read([SPILLED], _DRAIN, most, 0.0)
            except StopConsumer as error:
                self._set_aside(oldest, error)
                continue
            if not log.assignment(_DRAIN):
                raise LogUnavailable("The spill's oldest events cannot be read now.")
            if not self._taken:
                self._remove(oldest)
        return [self._unwrap(delivery.event) for delivery in self._taken]

    def done(self) -> None:
        """What was taken is in the event log: forget it, durably where the disk has room for the note.

        On a full disk the note waits for the next one, so that draining can make room.
        """
        assert self._taken
        oldest = self._segments[0]
        with contextlib.suppress(LogUnavailable):
            self._log(oldest).commit(_DRAIN, self._taken[-1].after)
        self._records[oldest] = max(0, self._records[oldest] - len(self._taken))
        self._taken = []
        self._measure(oldest)

    def close(self) -> None:
        for log in self._logs.values():
            log.close()
        self._logs.clear()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Segments

    def _look(self) -> None:
        """Count what an earlier process left."""
        for segment in list(self._segments):
            self._records[segment] = 0
            try:
                self._records[segment] = sum(self._log(segment).lag(_DRAIN, [SPILLED]).values())
                self._close_segment(segment)
            except StopConsumer as error:
                self._set_aside(segment, error)

    def _begin_segment(self, behind: int = 0) -> None:
        before = max(behind, self._segments[-1] if self._segments else 0)
        with _translated(self._folder):
            (self._folder / f"{before + 1:08d}").mkdir(mode=0o700)
            _sync_folder(self._folder)
        self._segments.append(before + 1)
        self._records[before + 1] = 0
        self._sizes[before + 1] = 0
        if len(self._segments) > 2:
            self._close_segment(before)  # Neither written nor read for now; it gives back its write-ahead log.

    def _remove(self, segment: int) -> None:
        """Remove a segment in one step: a crash leaves all of it or a folder that nobody reads."""
        shutil.rmtree(self._rename(segment, _GONE), ignore_errors=True)

    def _set_aside(self, segment: int, error: StopConsumer) -> None:
        aside = self._rename(segment, f"{_DAMAGED}{time.time_ns()}-")
        logger.error("Events that wait for the event log cannot be read and were moved to %s: %s", aside, error)

    def _rename(self, segment: int, prefix: str) -> Path:
        """Give a segment a name under which it is no segment any more."""
        self._close_segment(segment)
        other = self._folder / f"{prefix}{segment:08d}"
        with _translated(self._folder):
            (self._folder / f"{segment:08d}").rename(other)
            _sync_folder(self._folder)
        self._segments.remove(segment)
        del self._records[segment], self._sizes[segment]
        return other

    def _log(self, segment: int) -> EventLog:
        log = self._logs.get(segment)
        if log is None:
            log = self._logs[segment] = self._open_log(self._folder / f"{segment:08d}")
        return log

    def _close_segment(self, segment: int) -> None:
        log = self._logs.pop(segment, None)
        if log is not None:
            log.close()
        self._measure(segment)

    def _measure(self, segment: int) -> None:
        self._sizes[segment] = sum(
            entry.stat(follow_symlinks=False).st_blocks * 512
            for entry in _entries(self._folder / f"{segment:08d}")
        )

    def _unwrap(self, event: Event) -> tuple[Topic, Event]:
        spilled = msgspec.msgpack.decode(event.value, type=_Spilled)
        topic = self._topics.get(spilled.topic)
        if topic is None:
            raise StopConsumer(
                f"The spill holds events of topic {spilled.topic}, which this version does not know."
            )
        return topic, Event(event.id, event.key, spilled.kind, event.at_ms, spilled.value)


def _wrap(topic: Topic, event: Event) -> Event:
    value = msgspec.msgpack.encode(_Spilled(topic.name, event.kind, event.value))
    return Event(RecordId(event.id), event.key, _KIND, event.at_ms, value)


def _hold(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LogUnavailable("The folder of the spill is used by another process.") from None
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return all files below a folder; those that vanish meanwhile take no space."""
    found: list[os.DirEntry[str]] = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found += _entries(Path(entry.path))
            else:
                found.append(entry)
    return found


@contextlib.contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except CallwardenError:
        raise
    except OSError as error:
        what = os.strerror(error.errno or 0).lower()
        raise LogUnavailable(f"The folder of the spill, {folder}, cannot be used: {what}.") from None
