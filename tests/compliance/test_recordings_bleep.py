from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.recordings.bleep import Bleeper, BleepSettings, BleepSound, hidden_ms
from events.transcript import PiiKind, PiiSpan


def span(leg: int, start_ms: int, end_ms: int) -> PiiSpan:
    return PiiSpan(PiiKind.CARD_NUMBER, leg, start_ms, end_ms, 0.9, "test")


spans = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2000), st.integers(1, 500)).map(
        lambda s: span(s[0], s[1], s[1] + s[2])
    ),
    max_size=6,
)


@settings(deadline=None)
@given(spans=spans, sound=st.sampled_from(BleepSound))
def test_no_sample_of_a_span_or_its_surroundings_is_left(spans: list[PiiSpan], sound: BleepSound) -> None:
    bleeper = Bleeper(BleepSettings(sound=sound))
    # Sound that no cover contains: every sample at 30,000 or above.
    heard = np.full(8 * 2500, 30_000, np.int16)
    bleeper.hide(heard, 0, bleeper.ranges(0, spans))
    for one in spans:
        if one.leg == 0:
            around = heard[max(0, (one.start_ms - 100) * 8) : (one.end_ms + 140) * 8]
            assert np.all(np.abs(around) < 10_000)
    if not any(one.leg == 0 for one in spans):
        assert np.all(heard == 30_000)


def test_margins_lie_around_each_span_and_short_pauses_between_are_hidden_too() -> None:
    bleeper = Bleeper(BleepSettings(before_ms=100, after_ms=200, join_ms=300))
    ranges = bleeper.ranges(
        1, [span(1, 1000, 1500), span(1, 2000, 2100), span(0, 5000, 6000), span(1, 9000, 9100)]
    )
    assert (ranges // 8).tolist() == [[900, 2300], [8900, 9300]]


def test_all_legs_hide_what_was_said_on_one() -> None:
    bleeper = Bleeper(BleepSettings(all_legs=True))
    assert len(bleeper.ranges(0, [span(1, 1000, 1500)])) == 1


def test_hidden_time_counts_what_lies_in_the_recording() -> None:
    bleeper = Bleeper(BleepSettings(before_ms=100, after_ms=100))
    ranges = [bleeper.ranges(0, [span(0, 50, 500), span(0, 9000, 9900)]), bleeper.ranges(1, [])]
    assert hidden_ms(ranges, 8 * 9500) == 600 + 600


def test_settings_that_would_let_a_span_be_heard_are_refused() -> None:
    with pytest.raises(ValueError, match="heard fading"):
        BleepSettings(edge_ms=50, before_ms=20)
    with pytest.raises(ValueError, match="below half the sample rate"):
        BleepSettings(tone_hz=5000)
