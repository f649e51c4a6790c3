"""When an utterance is over: rules on the silence at the end of the best path.

The rules are those of Kaldi's ``online2/online-endpoint.h``, as data: each is a conjunction of four conditions, and
the utterance ends when any rule holds. They differ in how sure the graph has to be that a sentence may end here: a
short silence is enough where the search sits in a final state. An endpoint concerns the search alone; features and
network go on as if nothing had been.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property


class EndpointRule(StrEnum):
    """Why an utterance ended."""

    NOTHING_SAID = "nothing_said"
    SENTENCE_END = "sentence_end"
    PAUSE = "pause"
    LONG_PAUSE = "long_pause"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True)
class EndpointCondition:
    """One rule as Kaldi's ``OnlineEndpointRule``: it holds when all of this does.

    Attributes
    ----------
    rule : EndpointRule
    said : bool, optional
        Whether anything must, or must not, have been said; None where it does not matter.
    silence_ms : int
        Least silence at the end of the best path.
    final_cost : float
        Most that ending here may cost more than the best path; ``inf``: the sentence may be anywhere.
    heard_ms : int
        Least length of the utterance.
    """

    rule: EndpointRule
    said: bool | None
    silence_ms: int
    final_cost: float = math.inf
    heard_ms: int = 0


@dataclass(frozen=True)
class EndpointSettings:
    """The five rules' thresholds.

    Chosen on the development speakers, their sentences 0.8 to 3 s apart (simulated telephone speech). With a sentence
    end's cost of 4 nine endpoints of ten waited for the pause's 750 ms, and 45.5 % (speechocean) and 25.1 %
    (LibriSpeech) of the words were wrong; with 6 one in seven did, and 44.0 and 24.9 % were; with 8, none, 44.9 and
    24.9 %; with 6 and a silence of 420 ms 44.9 and 25.2 %.

    Attributes
    ----------
    nothing_said_ms : int
        Silence from the utterance's start after which it is given up.
    sentence_end_silence_ms, sentence_end_cost : int, float
        Shortest silence, when ending here costs at most so much more than the best path.
    pause_silence_ms, pause_cost : int, float
        The same, for a longer silence and a less likely end.
    long_pause_silence_ms : int
        Silence that ends an utterance wherever in a sentence it comes.
    longest_utterance_ms : int
        An utterance that goes on without a pause is cut between two words when it gets this long.
    """

    nothing_said_ms: int = 5000
    sentence_end_silence_ms: int = 510
    sentence_end_cost: float = 6.0
    pause_silence_ms: int = 750
    pause_cost: float = 10.0
    long_pause_silence_ms: int = 1200
    longest_utterance_ms: int = 20_000

    def __post_init__(self) -> None:
        if not 0 < self.sentence_end_silence_ms <= self.pause_silence_ms <= self.long_pause_silence_ms:
            raise ValueError(
                "The endpoint rules' silences must be positive and must not fall: sentence end, pause, long pause."
            )
        if not 0 <= self.sentence_end_cost <= self.pause_cost:
            raise ValueError(
                "The endpoint rules' costs must not be negative and must not fall: sentence end, pause."
            )
        if not self.long_pause_silence_ms <= self.nothing_said_ms <= self.longest_utterance_ms:
            raise ValueError(
                "An utterance's longest length must be at least the silence after which nothing was said, "
                "and that at least the long pause."
            )

    @cached_property
    def conditions(self) -> tuple[EndpointCondition, ...]:
        """The rules in the order in which they are asked: the surest first, Kaldi's rules 1, 4, 3, 2 and 5."""
        return (
            EndpointCondition(EndpointRule.NOTHING_SAID, False, self.nothing_said_ms),
            EndpointCondition(EndpointRule.LONG_PAUSE, True, self.long_pause_silence_ms),
            EndpointCondition(EndpointRule.PAUSE, True, self.pause_silence_ms, self.pause_cost),
            EndpointCondition(
                EndpointRule.SENTENCE_END, True, self.sentence_end_silence_ms, self.sentence_end_cost
            ),
            EndpointCondition(EndpointRule.TOO_LONG, True, 0, heard_ms=self.longest_utterance_ms),
        )

    def rule(self, heard_ms: int, silence_ms: int, final_cost: float | Callable[[], float]) -> EndpointRule | None:
        """Return the rule that ends the utterance now, or None.

        Parameters
        ----------
        heard_ms : int
            Length of the utterance so far.
        silence_ms : int
            Silence at the end of the best path; `heard_ms` when nothing was said.
        final_cost : float, or a function that returns it
            How much worse the best path is that ends here; ``inf`` if none does. Asked for only where it matters.
        """
        said = silence_ms < heard_ms
        for condition in self.conditions:
            if condition.said is not None and condition.said != said:
                continue
            if silence_ms < condition.silence_ms or heard_ms < condition.heard_ms:
                continue
            if not math.isinf(condition.final_cost):
                if callable(final_cost):
                    final_cost = final_cost()
                if final_cost > condition.final_cost:
                    continue
            return condition.rule
        return None
