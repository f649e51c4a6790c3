"""Faults of real Kafka brokers, and of the processes that use them, under the load of live calls.

    python -m tests.services.faults.kafka_faults [NAME ...]

starts brokers of its own, does to them what the name says while blocks of calls are written and read, and prints a
table of what became of every block. Without a name: all of them, about 12 minutes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import KafkaAdminClient

from events.identity import Role
from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaSettings
from events.log import Group
from events.sealing import id_of
from events.spill_state import SpillMode, SpillState
from events.spilling_log import SpillingLog
from events.sqlite_log import SqliteLog
from events.transcript import LegProgress
from tests.builders.kafka_logs import kafka_settings
from tests.services.faults.kafka_faults_load import (
    BLOCK_MS,
    BLOCKS,
    RESULTS,
    Account,
    Listener,
    Load,
    account,
    everything,
    until,
)
from tests.services.servers import KafkaCluster

ROOT: Final = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table."""

    fault: str
    account: Account
    handled_twice: int
    """Deliveries of the same record to the group that read along, beyond the first."""
    missed: int
    """Records that were never delivered to it."""
    longest_append_s: float
    longest_delay_s: float
    remark: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled or out of order."""
        found = self.account
        return not (found.lost or found.doubled or found.contradictory or found.out_of_order or self.missed)


@dataclass(frozen=True, slots=True)
class Site:
    """A cluster and the place on it that one fault uses."""

    cluster: KafkaCluster
    settings: KafkaSettings
    scale: float
    """Of the times that faults last; 1 in the table."""

    def open_log(self) -> KafkaLog:
        return KafkaLog(self.settings)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds * self.scale)

    def leader(self) -> int:
        """Return the node that leads the first partition."""
        admin = KafkaAdminClient(bootstrap_servers=self.settings.bootstrap.split(","))
        try:
            (topic,) = admin.describe_topics([self.settings.prefix + BLOCKS.name])
            first = min(topic["partitions"], key=lambda one: int(one["partition_index"]))
            return int(first["leader_id"])
        finally:
            admin.close()

    def keeper(self, group: Group) -> int:
        """Return the node that keeps the positions of a group."""
        admin = KafkaAdminClient(bootstrap_servers=self.settings.bootstrap.split(","))
        name = self.settings.prefix + group.name
        try:
            admin.list_group_offsets({name: None})
            return int(admin._manager.cluster.get_coordinator(name))
        finally:
            admin.close()


def site(cluster: KafkaCluster, scale: float = 1.0, **more: Any) -> Site:
    """Return a fresh place on a cluster; `more` are Kafka settings."""
    return Site(cluster, kafka_settings(cluster.bootstrap, f"faults-{secrets.token_hex(4)}.", **more), scale)


# What is done to brokers. Each returns when its fault is over; the load goes on meanwhile.


def broker_killed_once(at: Site, load: Load) -> None:
    at.cluster.signal_node(1, signal.SIGKILL)
    at.cluster.start_node(1)
    load.until_flowing()


def broker_killed(at: Site, load: Load) -> None:
    for _ in range(3):
        broker_killed_once(at, load)
        at.pause(5)


def broker_stopped(at: Site, load: Load, node: int = 1) -> None:
    at.cluster.signal_node(node, signal.SIGSTOP)
    try:
        at.pause(30)
    finally:
        at.cluster.signal_node(node, signal.SIGCONT)


def one_down(at: Site, load: Load) -> None:
    at.cluster.stop_node(2)
    at.pause(20)
    at.cluster.start_node(2)


def leader_killed(at: Site, load: Load) -> None:
    node = at.leader()
    at.cluster.signal_node(node, signal.SIGKILL)
    load.until_flowing()
    at.pause(10)
    at.cluster.start_node(node)


def leader_stopped(at: Site, load: Load) -> None:
    broker_stopped(at, load, at.leader())


def two_down(at: Site, load: Load) -> None:
    for node in (1, 3):
        at.cluster.signal_node(node, signal.SIGKILL)
    at.pause(20)
    for node in (1, 3):
        at.cluster.start_node(node)


def rolling_restart(at: Site, load: Load) -> None:
    for node in (1, 2, 3):
        at.cluster.stop_node(node)
        at.cluster.start_node(node)
        load.until_flowing()


def under_load(fault: str, do: Callable[[Site, Load], None], at: Site) -> Outcome:
    """Write and read along while something is done to the brokers, and give an account."""
    with Load(at.open_log) as load, Listener(at.open_log) as listener:
        load.until_flowing()
        do(at, load)
        load.until_flowing()
        at.pause(3)
        load.stop()
        return _outcome(fault, at, load, [listener])


def _outcome(fault: str, at: Site, load: Load, listeners: Sequence[Listener], remark: str = "") -> Outcome:
    found = everything(at.open_log, BLOCKS, lambda seen: seen >= load.sent.keys())
    with contextlib.suppress(AssertionError):
        until(lambda: {one for each in listeners for one in each.got} >= load.sent.keys(), "all is read", 60)
    got = [identity for listener in listeners for identity in listener.got]
    return Outcome(
        fault,
        account(load.sent, found),
        len(got) - len(set(got)),
        len(load.sent.keys() - set(got)),
        load.longest_append_s,
        max(listener.longest_delay_ms for listener in listeners) / 1000,
        remark,
    )


# What is done to those who use the brokers


def rebalance(fault: str, at: Site) -> Outcome:
    """Members join and leave while calls are written."""
    with Load(at.open_log) as load, contextlib.ExitStack() as stack:
        first = stack.enter_context(Listener(at.open_log))
        members = [first]
        for _ in range(2):
            members.append(stack.enter_context(Listener(at.open_log)))
            until(lambda: all(member.held for member in members), "every member has partitions")
            at.pause(5)
        first.stop()
        until(lambda: sum(member.held for member in members) == BLOCKS.partitions, "the others take over")
        at.pause(5)
        members.append(stack.enter_context(Listener(at.open_log)))
        at.pause(5)
        load.until_flowing()
        load.stop()
        return _outcome(fault, at, load, members)


@contextlib.contextmanager
def stage_process(at: Site, moment: str, after: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.services.faults.kafka_faults_stage"]
    settings = msgspec.json.encode(at.settings).decode()
    process = subprocess.Popen([*command, settings, moment, str(after)], cwd=ROOT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def consumer_killed(fault: str, at: Site) -> Outcome:
    """A stage is killed in the middle of a batch, and between its results and their commit; others take over."""
    delay = Listener(at.open_log, "results", RESULTS)
    with Load(at.open_log) as load, delay:
        for moment in ("batch", "appended"):
            with stage_process(at, moment, 2000) as process:
                until(lambda process=process: process.poll() is not None, "the stage dies")  # type: ignore[misc]
                assert process.returncode == -signal.SIGKILL
        with stage_process(at, "never", 0):
            before = len(delay.got)
            until(lambda: len(delay.got) > before + 2000, "the successor works")
            load.stop()
            expected = {
                id_of(LegProgress(call, 0, Role.AGENT, (number + 1) * BLOCK_MS)): (call, number)
                for call, number in load.sent.values()
            }
            found = everything(at.open_log, RESULTS, lambda seen: seen >= expected.keys())
            until(lambda: set(delay.got) >= expected.keys(), "all results are read")
    return Outcome(
        fault,
        account(expected, found),
        len(delay.got) - len(set(delay.got)),
        len(expected.keys() - set(delay.got)),
        load.longest_append_s,
        delay.longest_delay_ms / 1000,
        "results of a stage; those doubled come from the kill between results and commit",
    )


def broker_away(at: Site, note: Callable[[], None]) -> None:
    at.cluster.signal_node(1, signal.SIGKILL)
    at.pause(60)
    note()
    at.cluster.start_node(1)


def leader_hangs(at: Site, note: Callable[[], None]) -> None:
    node = at.leader()
    at.cluster.signal_node(node, signal.SIGSTOP)
    try:
        at.pause(4)
        note()
        at.pause(26)
    finally:
        at.cluster.signal_node(node, signal.SIGCONT)


def spilled(do: Callable[[Site, Callable[[], None]], None], fault: str, at: Site) -> Outcome:
    """Capture's side: what comes while brokers do not acknowledge goes onto the local disk."""
    seen: list[SpillState] = []
    with tempfile.TemporaryDirectory(prefix="callwarden-spill-") as folder:

        def open_spilling() -> SpillingLog:
            settings = replace(at.settings, append_within_s=min(2.0, at.settings.append_within_s))
            return SpillingLog(KafkaLog(settings), Path(folder), SqliteLog, topics=(BLOCKS,))

        with Load(open_spilling) as load, Listener(at.open_log) as listener:
            spill = load.log
            assert isinstance(spill, SpillingLog)
            load.until_flowing()
            do(at, lambda: seen.append(spill.state))
            begun = time.monotonic()
            until(lambda: spill.state.mode is SpillMode.DIRECT, "the spill is drained")
            drained_s = time.monotonic() - begun
            load.until_flowing()
            load.stop()
            most = seen[-1]
            remark = (
                f"{most.records:,} events, {most.bytes / 1e6:.0f} MB seen on the disk; "
                f"empty {drained_s:.0f} s after the fault"
            )
            return _outcome(fault, at, load, [listener], remark)


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    nodes: int
    text: str
    run: Callable[[str, Site], Outcome]


def _broker(name: str, nodes: int, text: str, do: Callable[[Site, Load], None]) -> Fault:
    return Fault(name, nodes, text, lambda fault, at: under_load(fault, do, at))


FAULTS: Final = (
    _broker("killed-once", 1, "one broker, kill -9", broker_killed_once),
    _broker("killed", 1, "one broker, kill -9 three times", broker_killed),
    _broker("stopped", 1, "one broker, SIGSTOP for 30 s", broker_stopped),
    Fault("spilled", 1, "one broker killed and away for 60 s, with the spill", partial(spilled, broker_away)),
    Fault("consumer-killed", 1, "consumer killed mid-batch", consumer_killed),
    Fault("rebalance", 1, "members join and leave during calls", rebalance),
    _broker("one-down", 3, "three brokers, one stopped for 20 s", one_down),
    _broker("leader-killed", 3, "three brokers, a leader killed -9", leader_killed),
    _broker("leader-stopped", 3, "three brokers, a leader SIGSTOP for 30 s", leader_stopped),
    Fault("leader-stopped-spilled", 3, "the same, with the spill", partial(spilled, leader_hangs)),
    _broker("two-down", 3, "three brokers, two killed -9 for 20 s", two_down),
    _broker("rolling", 3, "three brokers, rolling restart", rolling_restart),
)

_HEAD: Final = (
    "| fault | sent | found | lost | doubled | after readers' ids | out of order | handed out twice | "
    "longest append s | longest append-to-read s | |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(outcome: Outcome) -> str:
    found = outcome.account
    cells = [
        outcome.fault,
        f"{found.sent:,}",
        f"{found.found:,}",
        f"{found.lost}",
        f"{found.doubled}",
        f"{found.contradictory}",
        f"{found.out_of_order}",
        f"{outcome.handled_twice}",
        f"{outcome.longest_append_s:.1f}",
        f"{outcome.longest_delay_s:.1f}",
        (f"{outcome.missed} not handed out; " if outcome.missed else "") + outcome.remark,
    ]
    return f"| {' | '.join(cells)} |"


def main(names: Sequence[str]) -> int:
    known = {fault.name: fault for fault in FAULTS}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"There is no fault {unknown[0]}; the faults are {', '.join(known)}.", file=sys.stderr)
        return 2
    chosen = [known[name] for name in names] or [fault for fault in FAULTS if fault.name != "killed-once"]
    print(_HEAD, flush=True)
    clean = True
    for nodes in (1, 3):
        mine = [fault for fault in chosen if fault.nodes == nodes]
        if not mine:
            continue
        with KafkaCluster(nodes) as cluster:
            for fault in mine:
                outcome = fault.run(fault.text, site(cluster))
                clean = clean and (outcome.clean or fault.name == "consumer-killed")
                print(row(outcome), flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main(sys.argv[1:]))
