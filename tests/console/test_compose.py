"""docker-compose.yml says what the engine takes: its stages, settings, checks and memory."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import compose_spec
import pytest

from console.settings import load_settings
from console.stages import STAGES
from console.vitals import STAGE_NAMES
from console.vitals import main as vitals
from tests.builders.compose import COMPOSE_FILE, ROOT, Service, compose_file, services

LAPTOP_MB = 8 * 1024
ENGINE = {name: service for name, service in services().items() if service.raw["image"].startswith("callwarden:")}
BY_STAGE = {service.stage: service for service in ENGINE.values() if service.stage}


def test_compose_accepts_the_file() -> None:
    """By the specification; and by Compose itself where Docker's client has it, which needs no engine."""
    compose_spec.PyCompose.from_json(json.dumps(compose_file())).validate()
    docker = shutil.which("docker")
    if (
        docker is None
        or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
    ):
        return
    for profile in ("laptop", "site", "embedded"):
        done = subprocess.run(
            [docker, "compose", "--file", COMPOSE_FILE, "--profile", profile, "config", "--quiet"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_specification_refuses_what_is_wrong() -> None:
    wrong = compose_file()
    wrong["services"]["rules"]["restrat"] = "always"
    with pytest.raises(ValueError, match="restrat"):
        compose_spec.PyCompose.from_json(json.dumps(wrong))


def test_every_stage_has_a_service_of_its_name_and_no_other_is_named() -> None:
    assert set(BY_STAGE) == set(STAGES) == set(STAGE_NAMES)
    assert {service.name for service in BY_STAGE.values()} == set(STAGES)


@pytest.mark.parametrize("service", ENGINE.values(), ids=lambda service: service.name)
def test_its_environment_is_made_of_settings_that_exist(service: Service) -> None:
    settings = load_settings(None, service.environment)
    known = {"CALLWARDEN_DATA", "CALLWARDEN_MASTER_KEY"}
    assert all("__" in name or name in known for name in service.environment if name.startswith("CALLWARDEN_"))
    if service.stage:
        assert settings.engine.event_log == "kafka"
        assert settings.engine.index == "elasticsearch"


@pytest.mark.parametrize("service", ENGINE.values(), ids=lambda service: service.name)
def test_its_healthcheck_asks_for_its_own_stage(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = service.healthcheck
    assert (program, arguments[:2]) == ("python", ["-m", "console.vitals"])
    assert ([one for one in arguments[2:] if one != "--alive"] or [""]) == [service.stage]
    # Nothing runs on the test's data folder, so the check must fail, and for that reason.
    assert vitals(arguments[2:]) == 1
    assert "No such process runs" in capsys.readouterr().err


@pytest.mark.parametrize("service", ENGINE.values(), ids=lambda service: service.name)
def test_it_keeps_its_data_in_a_declared_volume_and_may_stop_in_order(service: Service) -> None:
    declared = compose_file()["volumes"]
    mounted = dict(volume.split(":")[:2] for volume in service.raw["volumes"])
    assert set(mounted) <= set(declared)
    assert service.environment["CALLWARDEN_DATA"] in mounted.values()
    grace_s = int(service.raw["stop_grace_period"].removesuffix("s"))
    assert grace_s > load_settings(None, {}).supervisor.stop_within_s
    assert service.raw["restart"] == "unless-stopped"


def test_who_is_waited_for_can_be_seen_to_be_well() -> None:
    for service in BY_STAGE.values():
        for other, how in service.raw["depends_on"].items():
            assert how["condition"] == "service_healthy"
            assert services()[other].healthcheck
            # The profile `site` has no brokers of its own.
            assert how["required"] is False


def test_the_laptop_profile_fits_into_eight_gigabytes() -> None:
    laptop = [service for service in services().values() if "laptop" in service.profiles]
    assert {service.stage for service in laptop if service.stage} == set(STAGES)
    assert sum(service.memory_mb for service in laptop) <= LAPTOP_MB
    for service in laptop:
        heap = re.search(r"-Xmx(\d+)m", " ".join(service.environment.values()))
        assert heap is None or 1.9 * int(heap[1]) <= service.memory_mb, "Java needs about its heap once more."


def test_the_servers_are_those_that_tests_run_on() -> None:
    images = {service.name: service.raw["image"] for service in services().values()}
    pom = (ROOT / "tests/services/kafka/pom.xml").read_text()
    kafka = re.search(r"<kafka.version>(.*)</kafka.version>", pom)
    script = (ROOT / "tests/services/elasticsearch/start-elasticsearch.sh").read_text()
    elastic = re.search(r"8\.19\) .*version=(\S+)", script)
    assert kafka
    assert elastic
    assert images["kafka"] == f"apache/kafka:{kafka[1]}"
    assert images["elasticsearch"].endswith(f":{elastic[1]}")


def test_the_image_has_what_the_services_need() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["callwarden"]' in dockerfile
    copied = re.findall(r"^COPY (?:--from=\S+ )?(\S+) ", dockerfile, re.MULTILINE)
    assert all((ROOT / one.lstrip("/")).exists() or one.startswith("/") for one in copied), copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "!tests/services/pjsua2" in ignored
