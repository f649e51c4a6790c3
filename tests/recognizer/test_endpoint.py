"""Each endpoint rule, just before and just when it holds."""

from __future__ import annotations

import math

import pytest

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
        (3000, 510, 4.0, EndpointRule.SENTENCE_END),
        (3000, 510, 4.1, None),
        (3000, 749, 4.1, None),
        (3000, 750, 4.1, EndpointRule.PAUSE),
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
