"""Real servers for tests: Apache Kafka and Elasticsearch, started natively on free loopback ports.

Each has its own data folder, is ended by its process id, and does not outlive the run that started it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

from tests.services.watchdog import owned_pids

HERE = Path(__file__).parent
CACHE_VARIABLE = "CALLWARDEN_SERVICES_CACHE"
_START_WITHIN_S = 600
"""A first start fetches the server."""


class CannotStart(RuntimeError):
    """A server did not start; the text says why, and what to install when something is missing."""


def cache_folder() -> Path:
    """Where fetched servers and the built module are kept. Elasticsearch runs as nobody, so not in root's home."""
    default = "/var/cache/callwarden-services" if os.getuid() == 0 else "~/.cache/callwarden-services"
    folder = Path(os.environ.get(CACHE_VARIABLE, default)).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def missing_programs() -> str:
    """Return one sentence that says what has to be installed, empty when nothing has."""
    if shutil.which("java") and shutil.which("mvn"):
        return ""
    return "Kafka and Elasticsearch need Java 17 and Maven: apt-get install openjdk-17-jre-headless maven."


def free_ports(count: int, *, spread: int = 1) -> int:
    """Return a first port such that `count` ports from it, `spread` apart, are free now (outside the range of
    ports that the system gives out by itself)."""
    dice = random.SystemRandom()
    for _ in range(200):
        first = dice.randrange(21_000, 31_000)
        held = []
        try:
            for number in range(count):
                one = socket.socket()
                held.append(one)
                one.bind(("127.0.0.1", first + number * spread))
            return first
        except OSError:
            continue
        finally:
            for one in held:
                one.close()
    raise CannotStart("No free loopback ports were found.")


class _Server:
    """A data folder, start and stop scripts, and a watchdog that ends what runs in the folder."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"callwarden-{name}-"))
        self.folder.chmod(0o755)
        self._watchdog = subprocess.Popen(
            [sys.executable, str(HERE / "watchdog.py"), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _script(self, script: str, *arguments: str, **environment: str) -> str:
        sentence = missing_programs()
        if sentence:
            raise CannotStart(sentence)
        done = subprocess.run(
            [str(HERE / script), *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_WITHIN_S,
        )
        if done.returncode:
            raise CannotStart(f"{script} {' '.join(arguments)} failed: {done.stderr[-3000:]}")
        return done.stdout

    def pids(self) -> list[int]:
        return owned_pids(self.folder)

    def close(self) -> None:
        """Kill what runs and remove the folder."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class KafkaCluster(_Server):
    """One broker, or three. Use as a context manager: started within, gone behind it.

    Parameters
    ----------
    nodes
        1 or 3. Topics are replicated to all, `min.insync.replicas` is 2 of 3.
    properties
        More lines for ``server.properties``.
    heap
        Java heap of each node.
    """

    def __init__(self, nodes: int = 1, properties: tuple[str, ...] = (), heap: str = "512m") -> None:
        super().__init__("kafka")
        self.nodes = nodes
        self.port = free_ports(20)
        self._environment = {
            "KAFKA_NODES": str(nodes),
            "KAFKA_PORT": str(self.port),
            "KAFKA_WORK": str(cache_folder() / "kafka"),
            "KAFKA_DATA": str(self.folder),
            "KAFKA_HEAP": heap,
            "KAFKA_EXTRA": ";".join(("broker.session.timeout.ms=3000", *properties)),
            "KAFKA_PROPERTIES": str(self.folder / "more.properties"),
        }

    @property
    def bootstrap(self) -> str:
        """``host:port`` of every node, separated by commas."""
        return ",".join(f"127.0.0.1:{self.port + node}" for node in range(self.nodes))

    def configure(self, properties: str) -> None:
        """Set lines of ``server.properties`` that need this cluster's folder or port; before it is started."""
        (self.folder / "more.properties").write_text(properties)

    def start(self) -> None:
        self._script("kafka/start-kafka.sh", "start", **self._environment)

    def start_node(self, node: int) -> None:
        """Start a node (1, 2, 3) that was killed or stopped, and wait until it is ready."""
        self._script("kafka/start-kafka.sh", "start-node", str(node), **self._environment)

    def stop_node(self, node: int) -> None:
        """End a node in good order."""
        self._script("kafka/start-kafka.sh", "stop-node", str(node), **self._environment)

    def pid(self, node: int = 1) -> int:
        return int((self.folder / f"node{node}.pid").read_text())

    def signal_node(self, node: int, number: signal.Signals) -> None:
        """Send SIGKILL, SIGSTOP or SIGCONT."""
        os.kill(self.pid(node), number)

    def __enter__(self) -> KafkaCluster:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self


class ElasticServer(_Server):
    """One Elasticsearch node. Use as a context manager."""

    def __init__(self, heap: str = "512m", settings: tuple[str, ...] = ()) -> None:
        super().__init__("elasticsearch")
        self.port = free_ports(1)
        self._environment = {
            "ES_PORT": str(self.port),
            "ES_DATA": str(self.folder),
            "ES_CACHE": str(cache_folder() / "elasticsearch"),
            "ES_HEAP": heap,
            "ES_EXTRA": "\n".join(settings),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, also again after `kill`; returns when it answers."""
        self._script("elasticsearch/start-elasticsearch.sh", **self._environment)

    def pid(self) -> int:
        return int((self.folder / "es.pid").read_text())

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
            _wait_for_end(pid)
        # Dead, it may still wait to be reaped, and the start script would take it for alive.
        (self.folder / "es.pid").unlink(missing_ok=True)

    def __enter__(self) -> ElasticServer:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self


def _wait_for_end(pid: int) -> None:
    handle = os.pidfd_open(pid)
    try:
        import select

        select.select([handle], [], [], 30)
    finally:
        os.close(handle)
