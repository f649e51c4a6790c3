"""What a call's redactor remembers beyond its window. In memory only, as long as the call."""

from __future__ import annotations

from collections.abc import Iterable

from events.transcript import PiiKind


class Memory:
    """Values that must stay hidden when somebody repeats them, and names."""

    def __init__(self) -> None:
        self.values: list[tuple[PiiKind, str]] = []
        """Digits, with the kind they were hidden as; none is a part of another of its kind."""
        self.names: set[str] = set()
        """Names that were given as names; hidden wherever they are said."""
        self.agent_names: set[str] = set()
        """Names of agents that policy keeps."""

    def learn(
        self, values: Iterable[tuple[PiiKind, str]], names: Iterable[str], agent_names: Iterable[str]
    ) -> None:
        for kind, value in values:
            if not any(kind is other_kind and value in other for other_kind, other in self.values):
                self.values = [known for known in self.values if known[0] is not kind or known[1] not in value]
                self.values.append((kind, value))
        self.names.update(names)
        self.agent_names.update(agent_names)
