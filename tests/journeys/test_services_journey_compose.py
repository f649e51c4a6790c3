"""The process list of docker-compose.yml, started without Docker on real servers: a call goes through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.builders.compose import Service, services
from tests.builders.engine import ROOT, RunningEngine, until
from tests.builders.journey import complete, newest_call, wired
from tests.builders.real_parts import real_parts
from tests.journeys.test_services_journey import Journey, must_be_found, must_be_whole
from tests.services.needed import services as needs_services
from tests.services.servers import free_ports

pytestmark = needs_services


def environment_of(service: Service, data: Path, http_port: int) -> dict[str, str]:
    """What the container would have, but for the folder and the port, which in a container are its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CALLWARDEN_")}
    moved = {"CALLWARDEN_DATA": str(data)}
    if service.stage == "console":
        moved |= {"CALLWARDEN_ENGINE__HTTP_HOST": "127.0.0.1", "CALLWARDEN_ENGINE__HTTP_PORT": str(http_port)}
    return {**own, **service.environment, **moved, "OMP_NUM_THREADS": "1"}


@contextmanager
def containers(
    variables: Mapping[str, str], data: Path, http_port: int
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Every engine service of the laptop profile as a process; each must end by itself when it is told to."""
    stages = [one for one in services(variables).values() if one.stage and "laptop" in one.profiles]
    running: dict[str, subprocess.Popen[bytes]] = {}
    logs = data.parent / "logs"
    logs.mkdir()
    try:
        for service in stages:
            with (logs / f"{service.name}.log").open("wb") as log:
                running[service.name] = subprocess.Popen(
                    [sys.executable, "-m", "console.cli", *service.command],
                    env=environment_of(service, data, http_port),
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                )
        for service in stages:

            def well(service: Service = service) -> bool:
                assert running[service.name].poll() is None, (logs / f"{service.name}.log").read_text()[-2000:]
                words = [word for word in service.healthcheck[1:] if word != "--alive"]
                asked = subprocess.run(
                    [sys.executable, *words],
                    env=environment_of(service, data, http_port),
                    cwd=ROOT,
                    capture_output=True,
                    check=False,
                )
                return asked.returncode == 0

            until(well, f"{service.name} is at work", 120)
        yield running
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        assert {name: process.wait(30) for name, process in running.items()} == dict.fromkeys(running, 0)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def test_a_call_goes_through_the_stages_one_by_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = free_ports(2)
    with real_parts(kafka=True, elasticsearch=True) as environment:
        variables = environment | {
            "CALLWARDEN_SOCKETS__SIP_HOST": "127.0.0.1",
            "CALLWARDEN_SOCKETS__SIP_PORT": str(first),
            "CALLWARDEN_SOCKETS__RTP_FIRST_PORT": str(free_ports(16) & ~1),
            "CALLWARDEN_SOCKETS__LEGS": "8",
        }
        with containers(variables, data, first + 1) as running:
            engine = RunningEngine(data, running["capture"], ("127.0.0.1", first), f"127.0.0.1:{first + 1}")
            wiring = wired(data, environment)
            try:
                found = Journey(engine, wiring, environment)
                found.place()
                document = complete(wiring, newest_call(wiring))
                must_be_whole(document)
                must_be_found(found, document)
            finally:
                wiring.close()
        assert not list((data / "run" / "processes").glob("*.json")), "Who ends in order leaves no sign behind."
