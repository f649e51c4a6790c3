"""Each endpoint rule, just before and just when it holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.endpoint import EndpointRule, EndpointSettings

SETTINGS = EndpointSettings()


@pytest.mark.parametrize(
    ("heard_ms", "silence_ms", "final_cost", "rule"),
    [
        (0, 0, 0.0, None),
        (4990, 4990, 0.0, None),
        (5000, 5000, 0.0, EndpointRule.NOTHING_SAID),
        (3000, 500, 0.0, None),
        (3000, 510, 0.0, EndpointRule.SENTENCE_END),
        (3000, 510, 6.0, EndpointRule.SENTENCE_END),
        (3000, 510, 6.1, None),
        (3000, 749, 6.1, None),
        (3000, 750, 6.1, EndpointRule.PAUSE),
        (3000, 750, 10.1, None),
        (3000, 750, math.inf, None),
        (3000, 1199, math.inf, None),
        (3000, 1200, math.inf, EndpointRule.LONG_PAUSE),
        (19_999, 0, math.inf, None),
        (20_000, 0, math.inf, EndpointRule.TOO_LONG),
        (20_000, 510, 0.0, EndpointRule.SENTENCE_END),
    ],
)
def test_rules(heard_ms: int, silence_ms: int, final_cost: float, rule: EndpointRule | None) -> None:
    assert SETTINGS.rule(heard_ms, silence_ms, final_cost) is rule


@given(
    st.integers(0, 25_000), st.integers(0, 25_000), st.floats(0, 20) | st.just(math.inf),
)  # fmt: skip
def test_an_utterance_ends_when_any_condition_holds(heard_ms: int, silence_ms: int, cost: float) -> None:
    """Kaldi's ``RuleActivated``, disjoined; in a final state the shortest silence of all is enough."""
    silence_ms = min(heard_ms, silence_ms)
    holding = {
        condition.rule
        for condition in SETTINGS.conditions
        if (condition.said is None or condition.said == (silence_ms < heard_ms))
        and silence_ms >= condition.silence_ms
        and cost <= condition.final_cost
        and heard_ms >= condition.heard_ms
    }
    rule = SETTINGS.rule(heard_ms, silence_ms, cost)
    assert rule in holding if holding else rule is None
    assert SETTINGS.rule(heard_ms, silence_ms, lambda: cost) is rule
    if 0 < silence_ms < heard_ms and cost == 0:
        assert (rule is None) == (silence_ms < SETTINGS.sentence_end_silence_ms and heard_ms < 20_000)


def test_the_cost_of_ending_is_asked_for_only_where_it_matters() -> None:
    def never() -> float:
        raise AssertionError

    assert SETTINGS.rule(3000, 300, never) is None
    assert SETTINGS.rule(3000, 3000, never) is None
    assert SETTINGS.rule(3000, 1200, never) is EndpointRule.LONG_PAUSE


def test_there_is_one_condition_a_rule() -> None:
    assert {condition.rule for condition in SETTINGS.conditions} == set(EndpointRule)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sentence_end_silence_ms": 0},
        {"sentence_end_silence_ms": 800},
        {"pause_silence_ms": 1300},
        {"sentence_end_cost": 11.0},
        {"nothing_said_ms": 1000},
        {"longest_utterance_ms": 4000},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        EndpointSettings(**wrong)
