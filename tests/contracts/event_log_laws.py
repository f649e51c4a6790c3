"""The laws of `events.log`, to be run on every driver.

A driver plugs in with a class that derives from `EventLogLaws` and gives the fixture `open_log`: see
test_sqlite_event_log.py, which is ten lines.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.consumer import ConsumerSettings, Opened, Output, run_stage
from events.dead_letter import read_dead_letter
from events.errors import NeverRetry
from events.identity import CallId, Role, new_call_id
from events.log import Delivery, Event, EventLog, Group, Position, StartAt, TopicPartition
from events.sealing import Sealer
from events.topics import Key, Topic
from events.transcript import LegProgress
from tests.contracts.event_log_workers import OpenLog, append_and_tell, make_event, read_and_tell

STAGES: Final = frozenset({"law"})
KEEP_DAYS: Final = 36_500.0
"""The laws' events were made in 1970 and 2023; no broker may think them too old to keep."""
KEYED: Final = Topic("laws.keyed", STAGES, STAGES, None, KEEP_DAYS)
ALSO_KEYED: Final = Topic("laws.also_keyed", STAGES, STAGES, None, KEEP_DAYS)
SEALED: Final = Topic("laws.sealed", STAGES, STAGES, Key.CAPTURE, KEEP_DAYS)
SINGLE: Final = Topic("laws.single", STAGES, STAGES, None, KEEP_DAYS, partitions=1)
PATIENCE_S: Final = 30.0
_SPAWN: Final = multiprocessing.get_context("spawn")


def ids(deliveries: Iterable[Delivery]) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


def until(condition: Callable[[], bool]) -> None:
    """Call `condition` until it holds. It should do something that takes time, like a read."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "The condition did not come true in time."


@contextlib.contextmanager
def process(target: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """Run a worker in another process, which is killed at the end if it still runs."""
    running = _SPAWN.Process(target=target, args=arguments, daemon=True)
    running.start()
    for end in arguments:
        if isinstance(end, Connection):
            end.close()  # The child has its own; so its death ends the pipe.
    try:
        yield running
    finally:
        running.kill()
        running.join()


class EventLogLaws:
    """Derive, and give the fixture `open_log`: each call of its value opens the same, at first empty store."""

    all_or_none = True
    """Of one append, a death in the middle leaves all or nothing; else of each key a leading part."""
    quiet_s = 0.0
    """A read that finds nothing for this long has seen all there was; a driver with a network needs more."""

    @pytest.fixture
    def open_log(self) -> OpenLog:
        raise NotImplementedError

    def drain(self, log: EventLog, topics: Sequence[Topic], group: Group, most: int = 500) -> list[Delivery]:
        """Read until a read gives nothing."""
        got: list[Delivery] = []
        while batch := log.read(topics, group, most, self.quiet_s):
            got += batch
        return got

    @pytest.fixture
    def opened(self, open_log: OpenLog) -> Iterator[Callable[[], EventLog]]:
        """As `open_log`; what it opened is closed at the end."""
        with contextlib.ExitStack() as stack:
            yield lambda: stack.enter_context(contextlib.closing(open_log()))

    @pytest.fixture
    def log(self, opened: Callable[[], EventLog]) -> EventLog:
        return opened()

    # What is appended is there, whole, in order

    def test_what_was_appended_is_read_as_it_was(self, log: EventLog) -> None:
        events = [
            Event(make_event("first", "a").id, "a", "kind", 5, bytes(range(256))),
            make_event("second", "", b""),
            make_event("dritte-ä", "schlüssel", b"\x00"),
        ]
        log.append(KEYED, events)
        got = self.drain(log, [KEYED], Group("reader"))
        assert sorted((delivery.event for delivery in got), key=lambda event: event.id) == sorted(
            events, key=lambda event: event.id
        )
        assert all(delivery.topic == KEYED and delivery.partition.topic == KEYED.name for delivery in got)

    def test_a_key_keeps_its_order_and_its_partition_number_over_topics(self, log: EventLog) -> None:
        for topic in (KEYED, ALSO_KEYED):
            for start in range(0, 600, 60):
                log.append(topic, [make_event(f"{i}", f"key-{i % 40}") for i in range(start, start + 60)])
        got = self.drain(log, [KEYED, ALSO_KEYED], Group("reader"), most=70)
        numbers: dict[str, set[int]] = defaultdict(set)
        by_key: dict[tuple[str, str], list[int]] = defaultdict(list)
        offsets: dict[TopicPartition, list[int]] = defaultdict(list)
        for delivery in got:
            numbers[delivery.event.key].add(delivery.partition.partition)
            by_key[delivery.topic.name, delivery.event.key].append(int(delivery.event.id))
            offsets[delivery.partition].append(delivery.offset)
        assert all(len(found) == 1 for found in numbers.values())
        assert len({number for found in numbers.values() for number in found}) > 4
        for (_, key), order in by_key.items():
            assert order == list(range(int(key.removeprefix("key-")), 600, 40))
        for order in offsets.values():
            assert order == sorted(set(order))

    def test_a_large_batch_goes_in_as_one(self, log: EventLog) -> None:
        log.append(KEYED, [make_event(str(i), str(i % 100), b"x" * 500) for i in range(20_000)])
        assert sorted(map(int, ids(self.drain(log, [KEYED], Group("reader"))))) == list(range(20_000))

    def test_appending_nothing_does_nothing(self, log: EventLog) -> None:
        log.append(KEYED, [])
        assert log.read([KEYED], Group("reader"), 10, 0.0) == []

    def test_threads_may_append_through_one_object(self, log: EventLog) -> None:
        def write(writer: int) -> None:
            for number in range(20):
                log.append(KEYED, [make_event(f"{writer}:{number}:{i}", f"key-{writer}") for i in range(3)])

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        got = ids(self.drain(log, [KEYED], Group("reader")))
        assert len(got) == len(set(got)) == 8 * 20 * 3
        for writer in range(8):
            own = [identity for identity in got if identity.startswith(f"{writer}:")]
            assert own == [f"{writer}:{number}:{i}" for number in range(20) for i in range(3)]

    def test_processes_may_append_at_once(self, open_log: OpenLog, log: EventLog) -> None:
        with contextlib.ExitStack() as stack:
            ends = []
            for writer in ("a", "b"):
                end, tell = _SPAWN.Pipe(duplex=False)
                stack.enter_context(process(append_and_tell, open_log, KEYED, writer, 10, 60, tell))
                ends.append(end)
            for end in ends:
                until(lambda end=end: end.recv() == 600)  # type: ignore[misc]
        got = ids(self.drain(log, [KEYED], Group("reader")))
        assert Counter(got) == Counter(f"{writer}:{i}" for writer in "ab" for i in range(600))

    def test_a_killed_writer_loses_nothing_acknowledged_and_tears_no_batch(
        self, open_log: OpenLog, log: EventLog
    ) -> None:
        batch = 13
        acknowledged = {}
        for writer in ("a", "b", "c"):
            end, tell = _SPAWN.Pipe(duplex=False)
            with process(append_and_tell, open_log, KEYED, writer, batch, -1, tell) as running:
                until(lambda end=end: end.recv() >= 25 * batch)  # type: ignore[misc]
                running.kill()
                running.join()
            last = 25 * batch
            with contextlib.suppress(EOFError):
                while end.poll():
                    last = end.recv()
            acknowledged[writer] = last
        log.append(KEYED, [make_event("after", "key")])
        counts = Counter(ids(self.drain(log, [KEYED], Group("reader"))))
        assert set(counts.values()) == {1}
        assert counts.pop("after") == 1
        for writer, least in acknowledged.items():
            present = sorted(int(identity.split(":")[1]) for identity in counts if identity[0] == writer)
            assert present[:least] == list(range(least))
            if self.all_or_none:
                assert present == list(range(len(present)))
                assert len(present) % batch == 0
            else:
                unacknowledged = range(least, least + batch)
                for key in range(7):  # as many as the workers use
                    of_key = [i for i in present[least:] if i % 7 == key]
                    assert of_key == [i for i in unacknowledged if i % 7 == key][: len(of_key)]

    # Groups and positions

    def test_what_was_not_committed_comes_again(self, opened: Callable[[], EventLog]) -> None:
        group = Group("reader")
        first = opened()
        first.append(SINGLE, [make_event(str(i), "") for i in range(10)])
        got = first.read([SINGLE], group, 6, 1.0)
        assert ids(got) == ["0", "1", "2", "3", "4", "5"]
        assert ids(first.read([SINGLE], group, 6, 1.0)) == ["6", "7", "8", "9"]
        first.commit(group, got[2].after)
        first.close()
        second = opened()
        assert ids(self.drain(second, [SINGLE], group)) == ["3", "4", "5", "6", "7", "8", "9"]
        second.commit(group, got[5].position)
        second.close()
        assert ids(self.drain(opened(), [SINGLE], group)) == ["5", "6", "7", "8", "9"]

    def test_a_lower_position_than_committed_changes_nothing(self, opened: Callable[[], EventLog]) -> None:
        group = Group("reader")
        first = opened()
        first.append(SINGLE, [make_event(str(i), "") for i in range(4)])
        got = self.drain(first, [SINGLE], group)
        first.commit(group, got[2].after)
        first.commit(group, got[0].after)
        first.close()
        assert ids(self.drain(opened(), [SINGLE], group)) == ["3"]

    def test_groups_know_nothing_of_each_other(self, log: EventLog) -> None:
        log.append(KEYED, [make_event(str(i), str(i)) for i in range(50)])
        for name in ("one", "two"):
            got = self.drain(log, [KEYED], Group(name))
            assert len(got) == 50
            for delivery in got:
                log.commit(Group(name), delivery.after)

    def test_members_share_partitions_fairly_and_by_number(self, opened: Callable[[], EventLog]) -> None:
        group = Group("shared")
        topics = [KEYED, ALSO_KEYED]
        members = [opened() for _ in range(3)]

        def shared(among: Sequence[EventLog]) -> bool:
            for member in among:
                member.read(topics, group, 10, 0.05)
            held = [member.assignment(group) for member in among]
            all_held = [where for parts in held for where in parts]
            assert len(all_held) == len(set(all_held)), "A partition is read by two members."
            sizes = sorted(len(parts) for parts in held)
            return len(all_held) == 32 and sizes[-1] - sizes[0] <= len(topics)

        for count in (1, 2, 3):
            until(lambda count=count: shared(members[:count]))  # type: ignore[misc]
        for member in members:
            numbers = [
                {where.partition for where in member.assignment(group) if where.topic == topic.name}
                for topic in topics
            ]
            assert numbers[0] == numbers[1]
        members[0].close()
        until(lambda: shared(members[1:]))

    def test_a_killed_member_is_replaced_and_its_events_come_again(
        self, open_log: OpenLog, opened: Callable[[], EventLog]
    ) -> None:
        group = Group("taken-over")
        log = opened()
        log.append(KEYED, [make_event(str(i), str(i)) for i in range(100)])
        end, tell = _SPAWN.Pipe(duplex=False)
        with process(read_and_tell, open_log, [KEYED], group, False, _SPAWN.Event(), tell) as running:
            seen: list[str] = []

            def has_all() -> bool:
                seen.extend(end.recv()[1])
                return len(seen) == 100

            until(has_all)
            running.kill()
            running.join()
        got: list[str] = []

        def taken_over() -> bool:
            got.extend(ids(log.read([KEYED], group, 100, 0.05)))
            return len(log.assignment(group)) == 16 and len(got) >= 100

        until(taken_over)
        assert Counter(got) == Counter(seen)

    def test_nothing_is_lost_while_members_come_and_go(self, opened: Callable[[], EventLog]) -> None:
        group = Group("moving")
        writer = opened()
        writer.append(KEYED, [make_event(str(i), f"key-{i % 50}") for i in range(1000)])
        members = [opened(), opened()]
        handled: dict[str, list[int]] = defaultdict(list)

        def work(member: EventLog) -> None:
            for delivery in member.read([KEYED], group, 20, 0.02):
                handled[delivery.event.key].append(int(delivery.event.id))
                member.commit(group, delivery.after)

        for _ in range(3):
            work(members[0])
        until(lambda: (work(members[0]), work(members[1]), bool(members[1].assignment(group)))[-1])
        members[0].close()
        until(lambda: (work(members[1]), sum(map(len, handled.values())) >= 1000)[-1])
        for key, order in handled.items():
            assert sorted(set(order)) == list(range(int(key.removeprefix("key-")), 1000, 50))
            assert order == sorted(order), "Every event was committed before the next, so none comes late."

    def test_commits_of_others_partitions_are_ignored(self, opened: Callable[[], EventLog]) -> None:
        group = Group("guarded")
        first, stranger = opened(), opened()
        first.append(SINGLE, [make_event(str(i), "") for i in range(3)])
        got = self.drain(first, [SINGLE], group)
        assert self.drain(stranger, [SINGLE], group) == []
        stranger.commit(group, got[2].after)
        assert sum(first.lag(group, [SINGLE]).values()) == 3

    def test_a_group_that_starts_last_sees_only_what_comes_after(self, opened: Callable[[], EventLog]) -> None:
        group = Group("tail", StartAt.LAST)
        log, writer = opened(), opened()
        writer.append(KEYED, [make_event(f"old-{i}", str(i)) for i in range(30)])
        assert log.read([KEYED], group, 10, 0.0) == []
        assert set(log.lag(group, [KEYED]).values()) == {0}
        writer.append(KEYED, [make_event("new-1", "1")])
        got = log.read([KEYED], group, 10, PATIENCE_S)
        assert ids(got) == ["new-1"]
        log.commit(group, got[0].after)
        log.close()
        writer.append(KEYED, [make_event("new-2", "1")])
        assert "new-2" in ids(self.drain(opened(), [KEYED], group))

    def test_lag_counts_what_lies_behind_the_committed_position(self, log: EventLog) -> None:
        group = Group("slow")
        log.append(SINGLE, [make_event(str(i), "") for i in range(8)])
        where = TopicPartition(SINGLE.name, 0)
        assert log.lag(group, [SINGLE]) == {where: 8}
        got = log.read([SINGLE], group, 5, 1.0)
        assert log.lag(group, [SINGLE]) == {where: 8}
        log.commit(group, got[-1].after)
        assert log.lag(group, [SINGLE]) == {where: 3}
        log.append(KEYED, [make_event(str(i), str(i)) for i in range(9)])
        lag = log.lag(group, [SINGLE, KEYED])
        assert len(lag) == 17
        assert sum(lag.values()) == 12

    # Waiting and trimming

    def test_a_waiting_read_is_woken_by_an_append_elsewhere(self, opened: Callable[[], EventLog]) -> None:
        log, writer = opened(), opened()
        group = Group("waiting")
        assert log.read([KEYED, SINGLE], group, 10, 0.0) == []
        got: list[Delivery] = []
        reader = threading.Thread(target=lambda: got.extend(log.read([KEYED, SINGLE], group, 10, 10 * PATIENCE_S)))
        reader.start()
        writer.append(SINGLE, [make_event("call", "")])
        reader.join(PATIENCE_S)
        assert not reader.is_alive()
        assert ids(got) == ["call"]

    def test_an_empty_read_ends(self, log: EventLog) -> None:
        for wait_s in (0.0, 0.01, 0.25):
            assert log.read([KEYED], Group("waiting"), 10, wait_s) == []

    def test_trimming_removes_what_is_old_and_nothing_else(self, opened: Callable[[], EventLog]) -> None:
        log = opened()
        group = Group("late")
        log.append(KEYED, [make_event(str(i), str(i), at_ms=1000 + i) for i in range(1500)])
        assert log.trim(KEYED, 1000) == 0
        assert log.trim(KEYED, 2200) == 1200
        assert sorted(map(int, ids(self.drain(log, [KEYED], group)))) == list(range(1200, 1500))
        assert log.trim(KEYED, 10_000) == 300
        log.append(KEYED, [make_event("new", "new")])
        got = self.drain(log, [KEYED], group)
        assert ids(got) == ["new"], "Offsets go on after everything was trimmed."
        assert ids(self.drain(opened(), [KEYED], Group("fresh"))) == ["new"]

    # The loop on top

    def test_poison_goes_to_the_dead_letters_and_stops_nobody(self, log: EventLog) -> None:
        calls = [new_call_id() for _ in range(4)]
        sealer = Sealer(_OneKey())
        good = {call: [LegProgress(call, 0, Role.AGENT, ms) for ms in range(100, 600, 100)] for call in calls}
        for step in range(5):
            events = [sealer.event(SEALED, good[call][step]) for call in calls]
            if step == 2:
                events[1] = replace(events[1], value=b"\x00" * 60)
            log.append(SEALED, events)
        handler = _Counting(poison=good[calls[3]][4], enough=18)
        run_stage(log, sealer, handler, Group("law"), ConsumerSettings(wait_s=0.05), handler.stop)
        seen = {call: [record.up_to_ms for record in handler.seen if record.call == call] for call in calls}
        whole = [100, 200, 300, 400, 500]
        assert [seen[call] for call in calls] == [whole, [100, 200, 400, 500], whole, whole[:4]]
        letters = [
            read_dead_letter(delivery.event) for delivery in self.drain(log, [SEALED.dead_letter], Group("bin"))
        ]
        assert sorted((letter.key, letter.reason.split(":")[0]) for letter in letters) == sorted(
            [(calls[1], "SealBroken"), (calls[3], "NeverRetry")]
        )
        assert sum(log.lag(Group("law"), [SEALED]).values()) == 0

    # Anything in any order

    @settings(
        max_examples=40,
        deadline=None,
        # One law, several drivers: a class each.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(data=st.data())
    def test_any_order_of_doings_agrees_with_a_list_per_partition(
        self, open_log: OpenLog, data: st.DataObject
    ) -> None:
        self.do_anything(open_log, data)

    def do_anything(self, open_log: OpenLog, data: st.DataObject) -> None:
        # The store outlives an example, so each begins behind what the last one left.
        group, topics = Group("model"), [KEYED, SINGLE]
        log = open_log()
        left = {delivery.partition: delivery.after for delivery in self.drain(log, topics, group)}
        for position in left.values():
            log.commit(group, position)
        model = _Model()
        try:
            for _ in range(data.draw(st.integers(3, 14))):
                doing = data.draw(st.sampled_from(["append", "append", "read", "read", "commit", "restart"]))
                if doing == "append":
                    topic = data.draw(st.sampled_from(topics))
                    keys = data.draw(st.lists(st.sampled_from("abcdefgh"), max_size=6))
                    events = [make_event(model.fresh(), key if topic is KEYED else "") for key in keys]
                    log.append(topic, events)
                    model.append(topic, events)
                elif doing == "read":
                    model.read(log.read(topics, group, data.draw(st.integers(1, 8)), 0.0))
                elif doing == "commit" and model.last:
                    position = data.draw(st.sampled_from(sorted(model.last.values(), key=str)))
                    log.commit(group, position)
                    model.commit(position)
                elif doing == "restart":
                    log.close()
                    log = open_log()
                    model.restart()
            model.read(self.drain(log, topics, group, most=5))
            model.assert_all_read()
        finally:
            log.close()


class _OneKey:
    def key(self, call: CallId, key: Key) -> bytes:
        return b"\x05" * 32


class _Counting:
    """A stage that sees records, refuses one for ever, and stops when it has seen enough."""

    name = "law"
    topics = (SEALED,)

    def __init__(self, poison: LegProgress, enough: int) -> None:
        self.stop = threading.Event()
        self.seen: list[LegProgress] = []
        self._poison = poison
        self._enough = enough
        self._refused = False

    def handle(self, opened: Opened) -> Iterable[Output]:
        assert isinstance(opened.record, LegProgress)
        if opened.record == self._poison:
            self._refused = True
            raise NeverRetry("This one is not liked.")
        self.seen.append(opened.record)
        return ()

    def after_batch(self) -> Iterable[Output]:
        if len(self.seen) >= self._enough and self._refused:
            self.stop.set()
        return ()

    def made_durable(self) -> None: ...

    def unfinished(self, partition: TopicPartition) -> Position | None:
        return None

    def revoked(self, partitions: frozenset[TopicPartition]) -> None: ...


class _Model:
    """What a group should see: a list of ids per key and topic, and how far it was read and committed."""

    def __init__(self) -> None:
        self.last: dict[TopicPartition, Position] = {}
        self._made = 0
        self._appended: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._read: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._offsets: dict[str, Position] = {}
        self._committed: dict[TopicPartition, int] = {}

    def fresh(self) -> str:
        self._made += 1
        return str(self._made)

    def append(self, topic: Topic, events: Sequence[Event]) -> None:
        for event in events:
            self._appended[topic.name, event.key].append(event.id)

    def read(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            lane = (delivery.topic.name, delivery.event.key)
            assert delivery.event.id == self._appended[lane][len(self._read[lane])]
            self._read[lane].append(delivery.event.id)
            self._offsets[delivery.event.id] = delivery.after
            self.last[delivery.partition] = delivery.after

    def commit(self, position: Position) -> None:
        where = position.partition
        self._committed[where] = max(self._committed.get(where, 0), position.offset)

    def restart(self) -> None:
        self.last.clear()
        for lane, read in self._read.items():
            after = [self._offsets[identity] for identity in read]
            done = sum(position.offset <= self._committed.get(position.partition, 0) for position in after)
            self._read[lane] = read[:done]

    def assert_all_read(self) -> None:
        assert {lane: order for lane, order in self._read.items() if order} == {
            lane: order for lane, order in self._appended.items() if order
        }
