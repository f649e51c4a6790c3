"""The operations pages name every setting of the parts that they set up, and no other."""

from __future__ import annotations

import dataclasses
import re

import pytest

from console.settings import load_settings
from tests.builders.engine import ROOT

PAGE = (ROOT / "docs/operations/running-on-kafka-and-elasticsearch.md").read_text()
SETTINGS = load_settings(None, {})
SECTIONS = {
    "kafka": SETTINGS.kafka,
    "spill": SETTINGS.spill,
    "elasticsearch": SETTINGS.elasticsearch,
    "capture.pjsua": SETTINGS.capture.pjsua,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_named(section: str) -> None:
    fields = {field.name for field in dataclasses.fields(SECTIONS[section])}
    assert {field for field in fields if f"`{field}`" not in PAGE} == set()
    assert f"`[{section}]" in PAGE


def test_the_tables_of_settings_name_no_other() -> None:
    known = {field.name for section in SECTIONS.values() for field in dataclasses.fields(section)}
    named: set[str] = set()
    for section in ("kafka", "elasticsearch"):
        table = PAGE.partition(f"| `[{section}]` |")[2].partition("\n\n")[0]
        for row in table.splitlines()[2:]:
            named |= set(re.findall(r"`([a-z_]+)`", row.split("|")[1]))
    assert named
    assert named <= known


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("kafka", ("replication", "min_in_sync")),
        ("elasticsearch", ("shards", "replicas")),
        ("kafka", ("bootstrap",)),
    ],
)
def test_defaults_are_the_true_ones(section: str, names: tuple[str, ...]) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{names[0]}`"))
    told = [word.strip(" `") for word in row.split("|")[2].split(",")]
    assert told == [str(getattr(SECTIONS[section], name)) for name in names]
