"""How partition numbers are shared out among the members of a Kafka group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition as KafkaPartition

from events.kafka_assignor import share

MEMBERS = st.lists(st.sampled_from("abcdefg"), min_size=1, unique=True)
HELD = st.dictionaries(st.integers(0, 15), st.sampled_from("abcdefgxyz"))


def claims(held: dict[int, str]) -> dict[KafkaPartition, str]:
    return {KafkaPartition("topic", number): member for number, member in held.items()}


@given(MEMBERS, HELD, st.integers(1, 16))
def test_shares_are_fair_whole_and_the_same_whoever_reckons(
    members: list[str], held: dict[int, str], count: int
) -> None:
    numbers = list(range(count))
    held = {number: member for number, member in held.items() if number < count}
    owner = share(numbers, members, claims(held))
    assert sorted(owner) == numbers
    sizes = [list(owner.values()).count(member) for member in members]
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert share(numbers, list(reversed(members)), claims(dict(reversed(held.items())))) == owner


@given(MEMBERS, HELD)
def test_nobody_loses_a_number_without_having_more_than_a_share(members: list[str], held: dict[int, str]) -> None:
    numbers = list(range(16))
    owner = share(numbers, members, claims(held))
    for member in members:
        before = [number for number, holder in held.items() if holder == member]
        kept = [number for number in before if owner[number] == member]
        assert len(kept) >= min(len(before), 16 // len(members))


@given(MEMBERS)
def test_once_shared_nothing_moves(members: list[str]) -> None:
    numbers = list(range(16))
    once = share(numbers, members, {})
    assert share(numbers, members, claims(once)) == once
