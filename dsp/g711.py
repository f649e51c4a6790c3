"""G.711 mu-law and A-law (ITU-T G.711, 1988): payload bytes to samples and back.

Decoding gives the 16-bit levels that every other implementation gives (mu-law +-32124 at most, A-law +-32256).
Encoding makes the same choice as Sun's g711.c, which Python's `audioop` took over: the two (mu-law) or three
(A-law) low bits are cut off before the segment is searched, so for 1016 (A-law 747) of the 65,536 inputs the
code is not that of the nearest level. Sox, SpanDSP and telephone gear differ from each other in just these
ties; we take the one with which most recorded calls were made, and a golden table holds it.

The functions take arrays of any shape, so that one call serves all legs: at the size of one RTP frame the cost
of calling a compiled function is larger than that of decoding.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

MU_LAW_SILENCE: Final = 0xFF
"""Code of the mu-law level +0."""
A_LAW_SILENCE: Final = 0xD5
"""Code of the smallest positive A-law level, which is +8 of 32,768: A-law has no zero."""

Codes = NDArray[np.uint8]
Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]

# numba widens int32 sums to int64, which halves the vector width; these keep the kernels in 32-bit lanes.
_I = np.int32
_TO_FLOAT: Final = np.float32(1 / 32768)


@njit(cache=True)
def _mu_law_level(code: Any) -> Any:
    inverted = _I(code) ^ _I(0xFF)
    level = (((inverted & _I(15)) << _I(3)) + _I(132)) << ((inverted >> _I(4)) & _I(7))
    level -= _I(132)
    return -level if inverted & _I(0x80) else level


@njit(cache=True)
def _a_law_level(code: Any) -> Any:
    even_bits = _I(code) ^ _I(0x55)
    segment = (even_bits >> _I(4)) & _I(7)
    lowest = ((even_bits & _I(15)) << _I(4)) + _I(8)
    level = lowest if segment == 0 else ((lowest + _I(256)) << segment) >> _I(1)
    return level if even_bits & _I(0x80) else -level


@njit(cache=True)
def _decode_mu_law(codes: Any, out: Any) -> None:
    for i in range(codes.size):
        out[i] = _mu_law_level(codes[i])


@njit(cache=True)
def _decode_a_law(codes: Any, out: Any) -> None:
    for i in range(codes.size):
        out[i] = _a_law_level(codes[i])


@njit(cache=True)
def _decode_mu_law_float(codes: Any, out: Any) -> None:
    for i in range(codes.size):
        out[i] = np.float32(_mu_law_level(codes[i])) * _TO_FLOAT


@njit(cache=True)
def _decode_a_law_float(codes: Any, out: Any) -> None:
    for i in range(codes.size):
        out[i] = np.float32(_a_law_level(codes[i])) * _TO_FLOAT


@njit(cache=True)
def _decode_legs_float(codes: Any, a_law: Any, out: Any) -> None:
    for leg in range(codes.shape[0]):
        if a_law[leg]:
            _decode_a_law_float(codes[leg], out[leg])
        else:
            _decode_mu_law_float(codes[leg], out[leg])


@njit(cache=True)
def _look_up(samples: Any, table: Any, out: Any) -> None:
    for i in range(samples.size):
        out[i] = table[samples[i]]


def _mu_law_codes() -> Codes:
    """Return the code of every 16-bit sample, indexed by its bits as an unsigned number."""
    cut = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 2
    magnitude = np.minimum(np.abs(cut), 8159) + 33
    segment = np.searchsorted(0x3F + 0x40 * (2 ** np.arange(8) - 1), magnitude)
    code = (segment << 4) | ((magnitude >> (segment + 1)) & 15)
    code = np.where(segment >= 8, 0x7F, code)
    return (code ^ np.where(cut < 0, 0x7F, 0xFF)).astype(np.uint8)


def _a_law_codes() -> Codes:
    """Return the code of every 16-bit sample, indexed by its bits as an unsigned number."""
    cut = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32) >> 3
    magnitude = np.where(cut < 0, -cut - 1, cut)
    segment = np.searchsorted(0x20 * 2 ** np.arange(8) - 1, magnitude)
    code = (segment << 4) | ((magnitude >> np.maximum(segment, 1)) & 15)
    return (code ^ np.where(cut < 0, 0x55, 0xD5)).astype(np.uint8)


_MU_LAW_CODES: Final = _mu_law_codes()
_A_LAW_CODES: Final = _a_law_codes()


def decode_mu_law(codes: Codes, out: Int16 | None = None) -> Int16:
    """Decode mu-law payload to 16-bit samples.

    Parameters
    ----------
    codes
        uint8, any shape, C order.
    out
        int16 array of the same shape to write into; made when absent.

    Raises
    ------
    ValueError
        An array has the wrong type, shape or order.
    """
    result = _ready(codes, np.uint8, out, np.int16)
    _decode_mu_law(codes.reshape(-1), result.reshape(-1))
    return result


def decode_a_law(codes: Codes, out: Int16 | None = None) -> Int16:
    """Decode A-law payload to 16-bit samples; see `decode_mu_law`."""
    result = _ready(codes, np.uint8, out, np.int16)
    _decode_a_law(codes.reshape(-1), result.reshape(-1))
    return result


def decode_mu_law_float(codes: Codes, out: Float32 | None = None) -> Float32:
    """Decode mu-law payload to float32 in [-1, 1), that is the 16-bit level over 32,768."""
    result = _ready(codes, np.uint8, out, np.float32)
    _decode_mu_law_float(codes.reshape(-1), result.reshape(-1))
    return result


def decode_a_law_float(codes: Codes, out: Float32 | None = None) -> Float32:
    """Decode A-law payload to float32 in [-1, 1), that is the 16-bit level over 32,768."""
    result = _ready(codes, np.uint8, out, np.float32)
    _decode_a_law_float(codes.reshape(-1), result.reshape(-1))
    return result


def decode_legs_float(codes: Codes, a_law: NDArray[np.bool_], out: Float32 | None = None) -> Float32:
    """Decode frames of many legs in one call, each leg by its own law.

    Parameters
    ----------
    codes
        uint8[legs, samples], C order.
    a_law
        bool[legs]: True where a leg's payload is A-law.
    out
        float32[legs, samples] to write into; made when absent.

    Raises
    ------
    ValueError
        An array has the wrong type, shape or order.
    """
    result = _ready(codes, np.uint8, out, np.float32)
    if codes.ndim != 2 or a_law.dtype != np.bool_ or a_law.shape != codes.shape[:1]:
        raise ValueError("Frames of legs are a two-dimensional array, with one A-law mark for each leg.")
    _decode_legs_float(codes, a_law, result)
    return result


def encode_mu_law(samples: Int16, out: Codes | None = None) -> Codes:
    """Encode 16-bit samples of any shape as mu-law; the same codes as `audioop.lin2ulaw` for all inputs."""
    result = _ready(samples, np.int16, out, np.uint8)
    _look_up(samples.reshape(-1).view(np.uint16), _MU_LAW_CODES, result.reshape(-1))
    return result


def encode_a_law(samples: Int16, out: Codes | None = None) -> Codes:
    """Encode 16-bit samples of any shape as A-law; the same codes as `audioop.lin2alaw` for all inputs."""
    result = _ready(samples, np.int16, out, np.uint8)
    _look_up(samples.reshape(-1).view(np.uint16), _A_LAW_CODES, result.reshape(-1))
    return result


def _ready(given: NDArray[Any], given_type: type, out: NDArray[Any] | None, out_type: type) -> NDArray[Any]:
    if given.dtype != given_type or not given.flags.c_contiguous:
        raise ValueError(f"The array to convert must be {given_type.__name__} in C order.")
    if out is None:
        return np.empty(given.shape, out_type)
    if out.dtype != out_type or out.shape != given.shape or not out.flags.c_contiguous:
        raise ValueError(f"The array to write into must be {out_type.__name__} of the same shape, in C order.")
    return out
