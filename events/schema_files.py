"""JSON Schemas of the records, one file per kind in schemas/, generated from the dataclasses.

``python -m events.schema_files`` writes them. It refuses a change after which records that lie in a log could
not be read any more, unless told ``--break``; a test holds that the files and the dataclasses agree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from events import codec
from events.call_document import CallDocument
from events.dead_letter import DeadLetter

FOLDER: Final = Path(__file__).parent / "schemas"
STORED: Final[dict[str, type[Any]]] = {**codec.KINDS, "dead_letter": DeadLetter, "call_document": CallDocument}
"""Everything that is written down somewhere: the records by kind, and what is kept beside them."""

Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """Return the schema of every kind, as the dataclasses say now."""
    return {kind: _schema(kind, record_type) for kind, record_type in STORED.items()}


def _schema(kind: str, record_type: type[Any]) -> Schema:
    (reference,), definitions = msgspec.json.schema_components([record_type])
    for definition in definitions.values():
        definition.pop("description", None)  # docstrings may change without the form changing
    assert fields(record_type)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{kind}.json",
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }
    return cast(Schema, json.loads(text_of(schema)))  # as it will be read back: lists, no tuples


def text_of(schema: Schema) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def committed(folder: Path = FOLDER) -> dict[str, Schema]:
    """Return the schemas that lie in the folder."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}


def breaking_changes(old: dict[str, Schema], new: dict[str, Schema]) -> list[str]:
    """Say in one sentence each what makes records written under `old` unreadable under `new`."""
    found: list[str] = []
    for kind, before in old.items():
        after = new.get(kind)
        if after is None:
            found.append(f"Record {kind} was removed.")
            continue
        for where, what in _differences(before, before, after, after, "", set()):
            place = f"Field {where} of record {kind}" if where else f"Record {kind}"
            found.append(f"{place} {what}.")
    return found


def _differences(
    old: Schema, old_root: Schema, new: Schema, new_root: Schema, where: str, seen: set[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    if "$ref" in old or "$ref" in new:
        visit = (old.get("$ref", ""), new.get("$ref", ""))
        if visit in seen:
            return
        seen.add(visit)
        yield from _differences(_resolve(old, old_root), old_root, _resolve(new, new_root), new_root, where, seen)
        return
    if old.get("type") == new.get("type") == "object" and "properties" in old and "properties" in new:
        yield from _object_differences(old, old_root, new, new_root, where, seen)
        return
    if "enum" in old and "enum" in new:
        gone = [value for value in old["enum"] if value not in new["enum"]]
        if gone:
            yield where, f"lost the value {', '.join(map(str, gone))}"
        return
    if "anyOf" in old or "anyOf" in new:
        lost = [
            _type_name(variant)
            for variant in old.get("anyOf", [old])
            if all(
                any(_differences(variant, old_root, other, new_root, where, set()))
                for other in new.get("anyOf", [new])
            )
        ]
        if lost:
            yield where, f"may no longer be {' or '.join(lost)}"
        return
    if {name: value for name, value in old.items() if name in ("type", "contentEncoding")} != {
        name: value for name, value in new.items() if name in ("type", "contentEncoding")
    } or ("enum" in new) != ("enum" in old):
        yield where, f"changed from {_type_name(old)} to {_type_name(new)}"
        return
    for inner in ("items", "additionalProperties"):
        if isinstance(old.get(inner), dict) and isinstance(new.get(inner), dict):
            yield from _differences(old[inner], old_root, new[inner], new_root, f"{where}[]", seen)
    old_places, new_places = old.get("prefixItems", []), new.get("prefixItems", [])
    if len(old_places) != len(new_places):
        yield where, f"changed from {len(old_places)} to {len(new_places)} places"
    for number, (before, after) in enumerate(zip(old_places, new_places, strict=False)):
        yield from _differences(before, old_root, after, new_root, f"{where}[{number}]", seen)


def _object_differences(
    old: Schema, old_root: Schema, new: Schema, new_root: Schema, where: str, seen: set[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    prefix = f"{where}." if where else ""
    old_required, new_required = set(old.get("required", ())), set(new.get("required", ()))
    for name, before in old["properties"].items():
        after = new["properties"].get(name)
        if after is None:
            yield f"{prefix}{name}", "was removed"
        else:
            if name in new_required - old_required:
                yield f"{prefix}{name}", "became required"
            yield from _differences(before, old_root, after, new_root, f"{prefix}{name}", seen)
    for name in new["properties"]:
        if name not in old["properties"] and name in new_required:
            yield f"{prefix}{name}", "was added without a default"


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def _type_name(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "contentEncoding" in schema:
        return "bytes"
    return str(schema.get("type", "anything"))


def write(folder: Path = FOLDER, break_readers: bool = False) -> list[str]:
    """Write all schemas; return the breaking changes, and write nothing where there are some not allowed."""
    new = schemas()
    breaking = breaking_changes(committed(folder), new)
    if breaking and not break_readers:
        return breaking
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.json"):
        if path.stem not in new:
            path.unlink()
    for kind, schema in new.items():
        (folder / f"{kind}.json").write_text(text_of(schema), "utf-8")
    return breaking


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the JSON Schemas of the records.")
    parser.add_argument("--break", dest="break_readers", action="store_true", help="allow breaking changes")
    options = parser.parse_args()
    breaking = write(break_readers=options.break_readers)
    for sentence in breaking:
        sys.stderr.write(sentence + "\n")
    if breaking and not options.break_readers:
        sys.stderr.write("Nothing was written, because records in existing logs could not be read any more.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
