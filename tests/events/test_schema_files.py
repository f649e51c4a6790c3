"""The committed schemas are those of the dataclasses, and what would break readers is named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from events import schema_files
from events.schema_files import breaking_changes, committed, schemas, write

Schema = dict[str, Any]


def test_the_committed_schemas_are_those_of_the_records() -> None:
    now, then = schemas(), committed()
    assert breaking_changes(then, now) == []
    assert then == now, "Run `make schemas` and commit what it writes."


def _segment(change: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    old = {"segment": schemas()["segment"]}
    new = copy.deepcopy(old)
    record = new["segment"]["$defs"]["TranscriptSegment"]
    word = new["segment"]["$defs"]["Word"]
    match change:
        case "removed":
            del word["properties"]["confidence"]
            word["required"].remove("confidence")
        case "type":
            word["properties"]["start_ms"] = {"type": "number"}
        case "required added":
            record["properties"]["language"] = {"type": "string"}
            record["required"].append("language")
        case "became required":
            record["required"].append("revision")
        case "value lost":
            new["segment"]["$defs"]["Role"]["enum"].remove("mixed")
        case "bytes":
            record["properties"]["id"]["contentEncoding"] = "base64"
        case "record gone":
            new = {}
        case "optional added":
            record["properties"]["language"] = {"type": "string", "default": ""}
        case "value added":
            new["segment"]["$defs"]["Role"]["enum"].append("supervisor")
        case "widened":
            record["properties"]["leg"] = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        case "renamed type":
            new["segment"]["$defs"]["Speaker"] = new["segment"]["$defs"].pop("Role")
            record["properties"]["role"]["$ref"] = "#/$defs/Speaker"
    return old, new


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("removed", "Field words[].confidence of record segment was removed."),
        ("type", "Field words[].start_ms of record segment changed from integer to number."),
        ("required added", "Field language of record segment was added without a default."),
        ("became required", "Field revision of record segment became required."),
        ("value lost", "Field role of record segment lost the value mixed."),
        ("bytes", "Field id of record segment changed from string to bytes."),
        ("record gone", "Record segment was removed."),
    ],
)
def test_what_breaks_readers_is_named(change: str, sentence: str) -> None:
    assert breaking_changes(*_segment(change)) == [sentence]


@pytest.mark.parametrize("change", ["optional added", "value added", "widened", "renamed type"])
def test_what_old_records_survive_is_no_break(change: str) -> None:
    old, new = _segment(change)
    assert old != new
    assert breaking_changes(old, new) == []


def test_a_field_that_may_no_longer_be_empty_is_named() -> None:
    old = {"finding": schemas()["finding"]}
    new = copy.deepcopy(old)
    new["finding"]["$defs"]["Finding"]["properties"]["role"] = {"$ref": "#/$defs/Role"}
    assert breaking_changes(old, new) == ["Field role of record finding may no longer be null."]


def test_a_breaking_change_is_not_written_unless_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write(tmp_path) == []
    old, new = _segment("removed")
    monkeypatch.setattr(schema_files, "schemas", lambda: {**schemas(), **new})
    (sentence,) = write(tmp_path)
    assert "words[].confidence" in sentence
    assert json.loads((tmp_path / "segment.json").read_text()) == old["segment"]
    write(tmp_path, break_readers=True)
    assert json.loads((tmp_path / "segment.json").read_text()) == new["segment"]
