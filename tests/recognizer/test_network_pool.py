"""Networks of any taps and widths: equal to a slow reference, and no bit of a leg depends on who is beside it."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognizer.acoustic_model import AcousticModel, AcousticModelError
from recognizer.log_mel import BINS
from recognizer.network_kernels import QUADS
from recognizer.network_pool import MOST_LEGS, NetworkPool
from recognizer.quantised import quantise
from tests.builders.random_networks import Weights, as_trained, live_network, parameters, random_network

ROOT = Path(__file__).parents[2]
SCALE = 1.3
FEATURES = np.random.default_rng(2).standard_normal((250, BINS)).astype(np.float32)

taps = st.none() | st.lists(st.integers(-6, 3), min_size=1, max_size=4, unique=True).map(
    lambda t: tuple(sorted(t))
)
widths = st.sampled_from((5, 24, 33, 40))
layers = st.lists(st.tuples(taps, taps, st.sampled_from((1, 8, 32)), widths), max_size=4)
networks = st.builds(random_network, layers, widths, taps, seed=st.integers(0, 9))


def whole(model: AcousticModel, features: np.ndarray = FEATURES) -> np.ndarray:
    stream = model.stream()
    return np.concatenate([stream.accept(features), stream.finish()])


@settings(max_examples=60, deadline=None)
@given(networks, st.integers(1, 90))
def test_any_network_scores_as_trained(weights: Weights, frames: int) -> None:
    model = AcousticModel.fold(weights, SCALE)
    expected = as_trained(weights, FEATURES[:frames], SCALE)
    scores = whole(model, FEATURES[:frames])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-4 * max(1.0, float(np.abs(expected).max())))


@settings(max_examples=40, deadline=None)
@given(
    networks, st.sampled_from(("float32", "int8")), st.lists(st.integers(0, 60), max_size=9), st.integers(0, 83)
)
def test_any_split_and_any_beginning_give_the_same_bits(
    weights: Weights, form: str, sizes: list[int], first_frame: int
) -> None:
    model = AcousticModel.fold(weights, SCALE, form)  # type: ignore[arg-type]
    expected, cuts = whole(model), np.cumsum(sizes)
    stream, late = model.stream(), model.stream(first_frame)
    split = [stream.accept(piece) for piece in np.split(FEATURES, cuts[cuts < len(FEATURES)])]
    np.testing.assert_array_equal(np.concatenate([*split, stream.finish()]), expected)
    rest = FEATURES[late.first_feature :]
    split = [late.accept(piece) for piece in np.split(rest, cuts[cuts < len(rest)])]
    np.testing.assert_array_equal(np.concatenate([*split, late.finish()]), expected[first_frame:])


@settings(max_examples=25, deadline=None)
@given(
    networks,
    st.sampled_from(("float32", "int8")),
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=5), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_legs_heard_together_score_as_each_alone(
    weights: Weights, form: str, arrivals: list[list[int]], order: object
) -> None:
    model = AcousticModel.fold(weights, SCALE, form)  # type: ignore[arg-type]
    legs = [np.roll(FEATURES, 7 * i, axis=0)[: sum(sizes)] for i, sizes in enumerate(arrivals)]
    streams = [model.stream() for _ in legs]
    told: list[list[np.ndarray]] = [[] for _ in legs]
    for turn in range(max(map(len, arrivals))):
        here = [i for i, sizes in enumerate(arrivals) if turn < len(sizes)]
        order.shuffle(here)  # type: ignore[attr-defined]
        begins = [sum(arrivals[i][:turn]) for i in here]
        blocks = [legs[i][at : at + arrivals[i][turn]] for i, at in zip(here, begins, strict=True)]
        for i, scores in zip(here, model.accept_many([streams[i] for i in here], blocks), strict=True):
            told[i].append(scores)
    for i, leg in enumerate(legs):
        together = np.concatenate([*told[i], streams[i].finish()])
        np.testing.assert_array_equal(together, whole(model, leg))


def test_more_legs_than_fit_into_one_pass() -> None:
    model = AcousticModel.fold(random_network([((-2, 0), (0, 1), 8, 24)]), SCALE)
    streams = [model.stream() for _ in range(2 * MOST_LEGS + 3)]
    for scores in model.accept_many(streams, [FEATURES] * len(streams)):
        np.testing.assert_array_equal(scores, whole(model)[: len(scores)])


def test_a_leg_that_ends_leaves_its_place_to_the_next_one() -> None:
    model = AcousticModel.fold(random_network([((-2, 0), (0, 1), 8, 24)]), SCALE)
    streams = [model.stream() for _ in range(9)]
    used = {stream.slot for stream in streams}
    assert len(used) == 9
    expected = whole(model)
    del streams
    gc.collect()
    again = [model.stream() for _ in range(9)]
    assert {stream.slot for stream in again} <= set(range(16))
    for stream in again:
        np.testing.assert_array_equal(np.concatenate([stream.accept(FEATURES), stream.finish()]), expected)


@pytest.mark.skipif(not QUADS, reason="This processor has no AVX-512 VNNI; nothing provides it.")
def test_both_forms_of_integers_have_the_same_sums() -> None:
    model = AcousticModel.fold(live_network(pdfs=50), SCALE, "int8")
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((5, 12, 120)).astype(np.float32)
    results = []
    for quads in (True, False):
        pool = NetworkPool(model.chain, quads)
        slots = np.array([pool.take() for _ in range(3)])
        steps = np.full(3, 4)
        results.append(
            [pool.advance(slots, np.full(3, 4 * turn), steps, block) for turn, block in enumerate(inputs)]
        )
    np.testing.assert_array_equal(results[0], results[1])


_BITS = """
import hashlib, numpy as np
from recognizer.acoustic_model import AcousticModel
from tests.builders.random_networks import random_network
features = np.random.default_rng(2).standard_normal((90, 40)).astype(np.float32)
for form in ("float32", "int8"):
    stream = AcousticModel.fold(random_network([((-2, 0), (0, 1), 8, 40)]), 1.3, form).stream()
    print(hashlib.sha256(stream.accept(features).tobytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="Only x86 can be compiled for a lesser x86 and run.")
def test_a_lesser_processor_computes_the_same_bits(tmp_path: Path) -> None:
    lesser = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi2,+f16c"}
    told = []
    for settings_ in ({}, {**lesser, "NUMBA_CACHE_DIR": str(tmp_path)}):
        run = subprocess.run(
            [sys.executable, "-c", _BITS],
            env={**os.environ, **settings_},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        told.append(run.stdout.split())
    assert len(told[0]) == 2
    assert told[0] == told[1]


def test_eight_bits_are_near_to_the_numbers_they_stand_for() -> None:
    weights = live_network(pdfs=200)
    numbers, integers = (whole(AcousticModel.fold(weights, SCALE, form)) for form in ("float32", "int8"))
    assert np.abs(numbers - integers).mean() < 0.06 * numbers.std()
    assert np.corrcoef(numbers.ravel(), integers.ravel())[0, 1] > 0.997


def test_a_pack_may_hold_weights_of_eight_bits() -> None:
    weights = random_network([((-2, 0), (0, 1), 8, 24)])
    packed = quantise(weights)
    assert packed["L.0.a.W.q"].dtype == np.int8
    assert packed["L.0.a.W.scale"].dtype == np.float32
    assert "L.0.a.W" not in packed
    as_shipped, asked_for = AcousticModel.fold(packed, SCALE), AcousticModel.fold(weights, SCALE, "int8")
    np.testing.assert_array_equal(whole(as_shipped), whole(asked_for))
    again = quantise(packed)
    assert again.keys() == packed.keys()
    dense = {name: values for name, values in packed.items() if not name.endswith((".q", ".scale"))}
    for name in weights:
        if name.endswith(".W"):
            dense[name] = packed[f"{name}.q"] * packed[f"{name}.scale"]
            assert np.abs(dense[name] - weights[name]).max() <= 0.51 * packed[f"{name}.scale"].max()
    expected = whole(AcousticModel.fold(dense, SCALE))
    np.testing.assert_allclose(whole(AcousticModel.fold(packed, SCALE, "float32")), expected, rtol=0, atol=1e-4)


def test_silence_of_the_features_is_no_division_by_zero() -> None:
    model = AcousticModel.fold(random_network([((-2, 0), (0, 1), 8, 24)]), SCALE, "int8")
    assert np.isfinite(whole(model, np.zeros((50, BINS), np.float32))).all()
    assert np.isfinite(whole(model, np.full((50, BINS), 1e-38, np.float32))).all()


def test_the_live_network_looks_as_far_as_its_taps_say() -> None:
    weights = live_network(pdfs=40)
    model = AcousticModel.fold(weights, SCALE)
    assert (model.left, model.right) == (25, 4)
    assert 3.4e6 < parameters(live_network()) < 3.7e6


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("L.0.a.taps", [0], "do not fit its matrices"),
        ("L.0.a.taps", [0, -2], "do not fit its matrices"),
        ("L.0.b.taps", [0, 1000], "looks too far"),
        ("i.taps", [0.5, 1.0, 2.0], "do not fit its matrices"),
        ("L.0.b.W", np.zeros((2, 9, 24)), "does not fit the one below"),
        ("L.0.n.v", np.ones(23), "wrong length"),
        ("o.W", np.zeros((1, 8, 14)), "last layers"),
        ("i.W", np.zeros((3, 60, 24)), "features of another kind"),
        ("o.b", np.full(14, np.nan), "not finite"),
        ("L.0.n.v", np.full(24, -1.0), "variances"),
    ],
)
def test_networks_that_do_not_fit_are_refused_in_a_sentence(name: str, value: object, sentence: str) -> None:
    weights = random_network([((-2, 0), (0, 1), 8, 24)], first=(-1, 0, 1))
    weights[name] = np.asarray(value)
    with pytest.raises(AcousticModelError, match=rf"{sentence}.*\.$"):
        AcousticModel.fold(weights, SCALE)
