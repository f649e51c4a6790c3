"""What is sealed opens only with its key, id and kind, and whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.clock import ManualClock
from events.errors import SealBroken
from events.identity import CallId, RecordId, Role, new_call_id
from events.sealing import NONCE_BYTES, Sealer, id_of, seal, unseal
from events.topics import AUDIT, TOPICS, TRANSCRIPT_RAW, TRANSCRIPT_REDACTED, Key
from events.transcript import LegProgress, SegmentStatus, TranscriptSegment, Word

CALL = new_call_id()
SEGMENT = TranscriptSegment(
    RecordId("s1"), CALL, 0, Role.AGENT, SegmentStatus.FINAL, 0, 0, 900, (Word("elephant", 0, 900, 0.9),)
)


class TwoKeys:
    def key(self, call: CallId, key: Key) -> bytes:
        return (b"\x01" if key is Key.CAPTURE else b"\x02") * 32


SEALER = Sealer(TwoKeys(), ManualClock(1_700_000_000_000))


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_what_was_sealed_comes_back(plaintext: bytes, associated: bytes) -> None:
    sealed = seal(bytes(32), plaintext, associated)
    assert len(sealed) == NONCE_BYTES + len(plaintext) + 16
    assert unseal(bytes(32), sealed, associated) == plaintext


@given(st.data())
def test_any_changed_byte_breaks_the_seal(data: st.DataObject) -> None:
    sealed = bytearray(seal(bytes(32), b"forty two", b"id"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealBroken, match=r"^A sealed value does not fit its key and record id\.$"):
        unseal(bytes(32), bytes(sealed), b"id")


def test_a_truncated_seal_is_refused() -> None:
    sealed = seal(bytes(32), b"forty two", b"id")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            unseal(bytes(32), sealed[:length], b"id")


def test_every_sealing_has_a_nonce_of_its_own() -> None:
    assert len({seal(bytes(32), b"same", b"same")[:NONCE_BYTES] for _ in range(1000)}) == 1000


def test_an_event_is_sealed_with_its_topics_key_and_opens_in_its_place_only() -> None:
    event = SEALER.event(TRANSCRIPT_RAW, SEGMENT)
    assert (event.id, event.key, event.kind, event.at_ms) == ("s1", CALL, "segment", 1_700_000_000_000)
    assert b"elephant" not in event.value
    assert SEALER.record(TRANSCRIPT_RAW, event) == SEGMENT
    moved = [replace(event, id=RecordId("s2")), replace(event, kind="redacted_segment")]
    for other in moved:
        with pytest.raises(SealBroken):
            SEALER.record(TRANSCRIPT_RAW, other)
    with pytest.raises(SealBroken):
        SEALER.record(TRANSCRIPT_REDACTED, event)


def test_every_topic_that_is_keyed_by_call_is_sealed() -> None:
    assert [topic.name for topic in TOPICS if topic.sealed_with is None] == [AUDIT.name]
    for topic in TOPICS:
        dead = topic.dead_letter
        assert dead.name == f"{topic.name}.dead"
        assert (dead.sealed_with, dead.keep_days, dead.partitions) == (
            topic.sealed_with, topic.keep_days, topic.partitions,
        )  # fmt: skip
        assert dead.readers == topic.readers


def test_ids_are_made_from_content() -> None:
    partial = replace(SEGMENT, status=SegmentStatus.PARTIAL, revision=2)
    assert id_of(SEGMENT) == "s1"
    assert id_of(partial) == "s1:partial:2"
    progress = LegProgress(CALL, 1, Role.AGENT, 4000)
    assert id_of(progress) == f"{CALL}:leg_progress:1:4000"
    assert id_of(progress) == id_of(replace(progress, role=Role.CUSTOMER))
    assert id_of(progress) != id_of(replace(progress, leg=0))
