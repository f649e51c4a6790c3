"""How a group shares out partitions: by number, fairly, and moving as few as possible.

A member that reads several topics gets the same numbers of all of them, and with them all of a call; the
library's assignors do not promise that. The protocol is cooperative (KIP-429): members keep what they have, and
a number goes to its new owner only when nobody claims it any more. A member may claim partitions that the group
has already taken from it, for as long as it is still busy with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from kafka import TopicPartition as KafkaPartition
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor, RebalanceProtocol
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

_SUBSCRIPTION_VERSION = 1
"""The first that carries what a member owns."""


class ByNumberAssignor(AbstractPartitionAssignor):  # type: ignore[misc]
    """One instance per member.

    Parameters
    ----------
    claimed
        Asked at every join for the partitions that the member has or is still busy with.
    given
        Told after every join which partitions the member has. Both are called on the library's thread.
    """

    name = "callwarden-by-number"

    def __init__(
        self,
        claimed: Callable[[], Collection[KafkaPartition]],
        given: Callable[[frozenset[KafkaPartition]], None],
    ) -> None:
        self._claimed = claimed
        self._given = given
        self._generation = -1

    def supported_protocols(self) -> list[RebalanceProtocol]:
        return [RebalanceProtocol.COOPERATIVE]

    def metadata(self, topics: Collection[str]) -> ConsumerProtocolSubscription:
        by_topic: dict[str, list[int]] = defaultdict(list)
        for where in self._claimed():
            by_topic[where.topic].append(where.partition)
        owned = ConsumerProtocolSubscription.TopicPartition
        return ConsumerProtocolSubscription(
            version=_SUBSCRIPTION_VERSION,
            topics=sorted(topics),
            # Which claim is the newer one, where two members claim a partition.
            user_data=str(self._generation).encode(),
            owned_partitions=[owned(topic=topic, partitions=sorted(held)) for topic, held in by_topic.items()],
        )

    def on_assignment(self, assignment: ConsumerProtocolAssignment, generation: int) -> None:
        self._generation = generation
        self._given(frozenset(assignment.partitions()))

    def assign(self, cluster: Any, members: Sequence[Any]) -> dict[str, ConsumerProtocolAssignment]:
        subscribed = {member.member_id: frozenset(member.metadata.topics) for member in members}
        partitions = [
            KafkaPartition(topic, number)
            for topic in sorted(frozenset[str]().union(*subscribed.values()))
            for number in sorted(cluster.partitions_for_topic(topic) or ())
        ]
        claims = _claims(members)
        owner = share(sorted({where.partition for where in partitions}), subscribed, claims)
        given: dict[str, dict[str, list[int]]] = {member: defaultdict(list) for member in subscribed}
        for where in partitions:
            member = owner[where.partition]
            if where.topic not in subscribed[member]:
                takers = sorted(each for each, topics in subscribed.items() if where.topic in topics)
                member = takers[where.partition % len(takers)]
            if claims.get(where, member) == member:
                given[member][where.topic].append(where.partition)
        return {
            member: ConsumerProtocolAssignment(_SUBSCRIPTION_VERSION, sorted(topics.items()), b"")
            for member, topics in given.items()
        }


def share(
    numbers: Sequence[int], members: Collection[str], claims: Mapping[KafkaPartition, str]
) -> dict[int, str]:
    """Return each number's owner: shares differ by one at most, and whoever has a number keeps it if it may."""
    held: dict[str, list[int]] = {member: [] for member in sorted(members)}
    holders: dict[int, str] = {}
    for where, member in sorted(claims.items()):
        holders.setdefault(where.partition, member)
    for number in numbers:
        holder = holders.get(number)
        if holder in held:
            held[holder].append(number)
    least, more = divmod(len(numbers), len(held))
    quota: dict[str, int] = {}
    for place, member in enumerate(sorted(held, key=lambda each: (-len(held[each]), each))):
        quota[member] = least + (place < more)
    owner = {number: member for member in held for number in held[member][: quota[member]]}
    room = [member for member in held for _ in range(quota[member] - len(held[member]))]
    free = [number for number in numbers if number not in owner]
    return owner | dict(zip(free, room, strict=True))


def _claims(members: Sequence[Any]) -> dict[KafkaPartition, str]:
    """Return who holds what; of two claims, the one of the later generation counts."""
    newest: dict[KafkaPartition, tuple[int, str]] = {}
    for member in members:
        data = member.metadata
        try:
            generation = int(data.user_data or b"-1")
        except ValueError:
            generation = -1
        for owned in data.owned_partitions or ():
            for number in owned.partitions:
                where = KafkaPartition(owned.topic, number)
                newest[where] = max(newest.get(where, (-2, "")), (generation, member.member_id))
    return {where: member for where, (_, member) in newest.items()}
