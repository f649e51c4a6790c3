from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dsp import g711

GOLDEN = Path(__file__).parents[1] / "golden" / "g711"
ALL_CODES = np.arange(256, dtype=np.uint8)
ALL_SAMPLES = np.arange(65536, dtype=np.uint16).view(np.int16)


@pytest.mark.parametrize("program", ["sox", "ffmpeg"])
@pytest.mark.parametrize(("law", "decode"), [("mu_law", g711.decode_mu_law), ("a_law", g711.decode_a_law)])
def test_all_codes_decode_as_another_program_decodes_them(
    program: str, law: str, decode: Callable[[np.ndarray], np.ndarray]
) -> None:
    golden = np.fromfile(GOLDEN / f"{law}_{program}.s16", "<i2")
    assert golden.shape == (256,)
    np.testing.assert_array_equal(decode(ALL_CODES), golden)


@pytest.mark.parametrize(
    ("law", "decode"), [("mu_law", g711.decode_mu_law_float), ("a_law", g711.decode_a_law_float)]
)
def test_float_levels_are_the_golden_levels_over_32768(
    law: str, decode: Callable[[np.ndarray], np.ndarray]
) -> None:
    golden = np.fromfile(GOLDEN / f"{law}_sox.s16", "<i2")
    decoded = decode(ALL_CODES)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded.astype(np.float64) * 32768, golden)
    assert np.abs(decoded).max() < 1


@pytest.mark.parametrize(("law", "encode"), [("mu_law", g711.encode_mu_law), ("a_law", g711.encode_a_law)])
def test_all_samples_encode_as_audioop_encodes_them(law: str, encode: Callable[[np.ndarray], np.ndarray]) -> None:
    golden = np.fromfile(GOLDEN / f"{law}_audioop.codes", np.uint8)
    assert golden.shape == (65536,)
    np.testing.assert_array_equal(encode(ALL_SAMPLES), golden)


def test_decoding_and_encoding_again_gives_the_code_back_but_for_minus_zero() -> None:
    mu_law = g711.encode_mu_law(g711.decode_mu_law(ALL_CODES))
    changed = np.flatnonzero(mu_law != ALL_CODES)
    assert changed.tolist() == [0x7F]
    assert mu_law[0x7F] == g711.MU_LAW_SILENCE
    np.testing.assert_array_equal(g711.encode_a_law(g711.decode_a_law(ALL_CODES)), ALL_CODES)


def test_silence_codes_are_those_of_the_smallest_levels() -> None:
    assert g711.decode_mu_law(np.array([g711.MU_LAW_SILENCE], np.uint8))[0] == 0
    assert g711.decode_a_law(np.array([g711.A_LAW_SILENCE], np.uint8))[0] == 8


def test_legs_of_both_laws_are_decoded_in_one_call() -> None:
    codes = np.random.default_rng(1).integers(0, 256, (7, 160), dtype=np.uint8)
    a_law = np.array([True, False, False, True, True, False, True])
    out = np.empty(codes.shape, np.float32)
    assert g711.decode_legs_float(codes, a_law, out) is out
    for leg, is_a_law in enumerate(a_law):
        decode = g711.decode_a_law_float if is_a_law else g711.decode_mu_law_float
        np.testing.assert_array_equal(out[leg], decode(codes[leg]))


def test_any_shape_is_converted_into_the_given_array() -> None:
    codes = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    out = np.empty(codes.shape, np.int16)
    assert g711.decode_mu_law(codes, out) is out
    np.testing.assert_array_equal(out.reshape(-1), g711.decode_mu_law(ALL_CODES))
    assert g711.decode_a_law(np.empty(0, np.uint8)).shape == (0,)


def test_wrong_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="must be uint8 in C order"):
        g711.decode_mu_law(np.zeros(4, np.int16))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be uint8 in C order"):
        g711.decode_a_law(np.zeros((8, 8), np.uint8)[:, ::2])
    with pytest.raises(ValueError, match="must be int16 of the same shape"):
        g711.decode_mu_law(np.zeros(4, np.uint8), np.zeros(5, np.int16))
    with pytest.raises(ValueError, match="one A-law mark for each leg"):
        g711.decode_legs_float(np.zeros((2, 160), np.uint8), np.zeros(3, np.bool_))
