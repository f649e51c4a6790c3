"""Names of calls and records."""

from __future__ import annotations

import hashlib

import pytest

from events.identity import call_id_from_content, new_call_id, parse_call_id, record_id


def test_call_ids_are_random_and_parse() -> None:
    made = {new_call_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(parse_call_id(call) == call for call in made)


@pytest.mark.parametrize(
    "text", ["", "0" * 31, "0" * 33, "G" * 32, "ABCDEF" + "0" * 26, "../" + "0" * 29, "0" * 32 + "\n"]
)
def test_what_is_no_call_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^A call id is 32 lower-case hexadecimal digits\.$"):
        parse_call_id(text)


def test_the_same_content_is_the_same_call() -> None:
    one, other = (hashlib.sha256(content).digest() for content in (b"one", b"other"))
    assert call_id_from_content(one) == call_id_from_content(one) != call_id_from_content(other)
    assert parse_call_id(call_id_from_content(one))


def test_record_ids_differ_by_every_part() -> None:
    call = new_call_id()
    assert record_id(call, "finding", "rule", 7) == f"{call}:finding:rule:7"
    assert len({record_id(call, "a", 1, 2), record_id(call, "a", 12), record_id(call, "b", 1, 2)}) == 3
