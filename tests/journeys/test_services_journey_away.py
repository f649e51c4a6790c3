"""An engine that is started while Kafka and Elasticsearch are away: it does what it can, and says what it cannot."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tests.builders.engine import running_engine, until
from tests.builders.gate import Gate
from tests.builders.journey import complete, newest_call, wired
from tests.builders.real_parts import real_parts
from tests.journeys.test_services_journey import Journey, must_be_found, must_be_whole, officer
from tests.services.needed import elasticsearch_url, kafka_bootstrap, services

pytestmark = services

WAITING = ("recogniser", "redaction", "rules", "alerts", "archive")


def test_a_call_that_came_while_all_was_away_is_found_once_it_is_back(tmp_path: Path) -> None:
    host, _, port = kafka_bootstrap().rpartition(":")
    elastic = urlsplit(elasticsearch_url())
    with (
        real_parts(kafka=True, elasticsearch=True) as environment,
        Gate(host, int(port)) as kafka,
        Gate(str(elastic.hostname), int(elastic.port or 9200)) as elasticsearch,
    ):
        there = dict(environment)
        environment["CALLWARDEN_KAFKA__BOOTSTRAP"] = kafka.address
        environment["CALLWARDEN_ELASTICSEARCH__URL"] = f"http://{elasticsearch.address}"
        with running_engine(tmp_path / "data", environment=environment) as engine:
            # It accepts calls and pages, and has said in a sentence each what does not work.
            no_kafka = f"No Kafka broker answers at {kafka.address}; start it or set [kafka] bootstrap."
            no_elastic = f"No Elasticsearch answers at http://{elasticsearch.address}; set [elasticsearch] url."
            said = until(lambda: [line for line in engine.errors if no_kafka in line], "Kafka is said to be away")
            assert all(stage in said[-1] for stage in WAITING)
            # Asking a broker that is away takes a while; until it has been asked, it "does not answer".
            health = until(
                lambda: (
                    (found := engine.healthz())["notes"].get("event log") == no_kafka
                    and found["parts"] == {"event log": "away", "index": "away"}
                    and found
                ),
                "both are shown to be away",
            )
            assert health["status"] == "degraded"
            assert health["notes"]["index"] == no_elastic
            assert {health["notes"][stage] for stage in WAITING} == {no_kafka}
            assert health["notes"]["indexer"] == no_elastic
            with officer(engine, environment) as client:
                page = client.get("/search", params={"q": "anything"})
                assert page.status_code == 503
                assert no_elastic in page.text
                assert "Traceback" not in page.text

            wiring = wired(tmp_path / "data", there)
            try:
                found = Journey(engine, wiring, environment)
                found.place()
                spilling = until(
                    lambda: (s := engine.healthz()["facts"].get("Spill", "")).startswith("spilling") and s,
                    "spilled",
                )
                assert " events" in spilling
                kafka.open()
                elasticsearch.open()
                document = complete(wiring, newest_call(wiring), within_s=150)
                must_be_whole(document)
                until(lambda: engine.healthz()["facts"]["Spill"] == "empty", "the spill is empty")
                until(lambda: engine.healthz()["status"] == "ok", "all is well")
                must_be_found(found, document)
            finally:
                wiring.close()
            assert any("at work" in line and "not at work" not in line for line in engine.errors)
