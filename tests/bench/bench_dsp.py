"""Signal processing beside what others use for it, in the same run: audioop, soxr, pydub.

    python tests/bench/bench_dsp.py [--json build/bench/dsp.json] [--rounds 7]

Processor time, medians over interleaved rounds, on one core. Absolute figures move with the machine; ratios less.
Noise of N(0, 0.1) for 60 s is resampled; tones of half scale measure ripple and aliases; random bytes are decoded.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soxr

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

    from pydub import AudioSegment

from dsp import bleep, g711
from dsp.resample import Resampler, resample
from dsp.speech_level import block_levels_dbm0

Row = dict[str, Any]


def seconds(rounds: int, *jobs: Callable[[], object]) -> list[float]:
    """Return each job's median processor time, the jobs taking turns."""
    taken: list[list[float]] = [[] for _ in jobs]
    for job in jobs:
        job()
    for _ in range(rounds):
        for place, job in enumerate(jobs):
            start = time.process_time_ns()
            job()
            taken[place].append((time.process_time_ns() - start) / 1e9)
    return [median(times) for times in taken]


def g711_rows(rounds: int) -> list[Row]:
    count = 8_000_000
    codes = np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8)
    samples = np.random.default_rng(1).integers(-32768, 32768, count).astype(np.int16)
    coded, pcm = codes.tobytes(), samples.tobytes()
    wide, single, narrow = np.empty(count, np.int16), np.empty(count, np.float32), np.empty(count, np.uint8)
    jobs: list[tuple[str, Callable[[], object], str, Callable[[], object]]] = [
        (
            "mu-law to int16",
            lambda: g711.decode_mu_law(codes, wide),
            "audioop",
            lambda: audioop.ulaw2lin(coded, 2),
        ),
        (
            "A-law to int16",
            lambda: g711.decode_a_law(codes, wide),
            "audioop",
            lambda: audioop.alaw2lin(coded, 2),
        ),
        ("mu-law to int16", lambda: g711.decode_mu_law(codes, wide), "copy", lambda: np.copyto(wide, codes)),
        ("A-law to int16", lambda: g711.decode_a_law(codes, wide), "copy", lambda: np.copyto(wide, codes)),
        (
            "mu-law to float",
            lambda: g711.decode_mu_law_float(codes, single),
            "copy",
            lambda: np.copyto(single, codes),
        ),
        (
            "A-law to float",
            lambda: g711.decode_a_law_float(codes, single),
            "copy",
            lambda: np.copyto(single, codes),
        ),
        (
            "to mu-law",
            lambda: g711.encode_mu_law(samples, narrow),
            "audioop",
            lambda: audioop.lin2ulaw(pcm, 2),
        ),
        (
            "to A-law",
            lambda: g711.encode_a_law(samples, narrow),
            "audioop",
            lambda: audioop.lin2alaw(pcm, 2),
        ),
    ]
    rows = []
    for name, ours, peer, theirs in jobs:
        a, b = seconds(rounds, ours, theirs)
        rows.append(row("G.711", name, count / a / 1e6, count / b / 1e6, "Msamples/s", peer))
    legs = codes[: 200 * 160].reshape(200, 160)
    laws, out = np.arange(200) % 2 == 1, np.empty((200, 160), np.float32)
    frame = legs[0].tobytes()

    def batches() -> None:
        for _ in range(200):
            g711.decode_legs_float(legs, laws, out)

    def frames() -> None:
        for _ in range(200 * 200):
            audioop.ulaw2lin(frame, 2)

    a, b = seconds(rounds, batches, frames)
    rows.append(
        row("G.711", "one 20 ms frame, 200 legs a call", 1e9 * a / 40_000, 1e9 * b / 40_000, "ns", "audioop", True)
    )
    return rows


def resample_rows(rounds: int) -> list[Row]:
    rows = []
    for rate_in, rate_out in ((48000, 8000), (44100, 8000), (16000, 8000), (8000, 16000)):
        noise = np.random.default_rng(0).normal(0, 0.1, 60 * rate_in).astype(np.float32)
        chunk = rate_in // 50
        name = f"{rate_in / 1000:g} to {rate_out / 1000:g} kHz"

        def ours_streamed(noise: Any = noise, rates: Any = (rate_in, rate_out), chunk: int = chunk) -> None:
            resampler = Resampler(*rates)
            for first in range(0, noise.size, chunk):
                resampler.push(noise[first : first + chunk])

        def soxr_streamed(noise: Any = noise, rates: Any = (rate_in, rate_out), chunk: int = chunk) -> None:
            stream = soxr.ResampleStream(*rates, 1, dtype="float32", quality="HQ")
            for first in range(0, noise.size, chunk):
                stream.resample_chunk(noise[first : first + chunk])

        a, b, c, d = seconds(
            rounds,
            lambda noise=noise, i=rate_in, o=rate_out: resample(noise, i, o),
            lambda noise=noise, i=rate_in, o=rate_out: soxr.resample(noise, i, o, quality="HQ"),
            ours_streamed,
            soxr_streamed,
        )
        rows.append(row("resample", f"{name}, whole", 60 / a, 60 / b, "x real time", "soxr HQ"))
        rows.append(row("resample", f"{name}, 20 ms chunks", 60 / c, 60 / d, "x real time", "soxr HQ"))
        rows.append(
            row("resample", f"{name}, first output", *first_output_ms(rate_in, rate_out), "ms", "soxr HQ", True)
        )
        rows.append(
            row("resample", f"{name}, ripple to 3.4 kHz", *ripple_db(rate_in, rate_out), "dB", "soxr HQ", True)
        )
        if rate_in > rate_out:
            rows.append(
                row("resample", f"{name}, alias of 4.05 kHz up", *alias_db(rate_in), "dB", "soxr HQ", True)
            )
    return rows


def first_output_ms(rate_in: int, rate_out: int) -> tuple[float, float]:
    ours, stream = (
        Resampler(rate_in, rate_out),
        soxr.ResampleStream(rate_in, rate_out, 1, dtype="float32", quality="HQ"),
    )
    waits = []
    step = rate_in // 1000
    for push in (ours.push, stream.resample_chunk):
        wait = 1
        while push(np.ones(step, np.float32)).size == 0:
            wait += 1
        waits.append(float(wait))
    return waits[0], waits[1]


def gains_db(rate_in: int, rate_out: int, tones: tuple[int, ...]) -> tuple[list[float], list[float]]:
    gains: tuple[list[float], list[float]] = ([], [])
    for hertz in tones:
        tone = (0.5 * np.sin(2 * np.pi * hertz * np.arange(2 * rate_in) / rate_in)).astype(np.float32)
        made_by = (resample(tone, rate_in, rate_out), soxr.resample(tone, rate_in, rate_out, quality="HQ"))
        for place, made in enumerate(made_by):
            middle = made[rate_out // 4 : -rate_out // 4].astype(np.float64)
            gains[place].append(float(10 * np.log10(max(np.mean(middle**2), 1e-30) / 0.125)))
    return gains


def ripple_db(rate_in: int, rate_out: int) -> tuple[float, float]:
    ours, theirs = gains_db(rate_in, rate_out, (200, 500, 1000, 2000, 3000, 3300, 3400))
    return max(map(abs, ours)), max(map(abs, theirs))


def alias_db(rate_in: int) -> tuple[float, float]:
    tones = tuple(hertz for hertz in (4050, 4200, 4400, 4600, 5000, 6300, 7900) if hertz < rate_in / 2)
    ours, theirs = gains_db(rate_in, 8000, tones)
    return max(ours), max(theirs)


def bleep_rows(rounds: int) -> list[Row]:
    rows = []
    sound = np.random.default_rng(0).integers(-9000, 9000, 3600 * 8000).astype(np.int16)
    cover, edge = bleep.silence(), bleep.raised_cosine(40)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hour.raw"
        sound.tofile(path)
        for many in (5, 20, 200):
            starts = [3_500_000 * place // many for place in range(many)]
            ranges = bleep.merged((8 * start, 8 * (start + 1000)) for start in starts)

            def ours(ranges: Any = ranges) -> None:
                mapped = np.memmap(path, np.int16, "r+")
                bleep.hide(mapped, ranges, cover, edge)

            def with_pydub(starts: list[int] = starts) -> None:
                segment = AudioSegment(sound.tobytes(), frame_rate=8000, sample_width=2, channels=1)
                for start in starts:
                    mute = AudioSegment.silent(1000, frame_rate=8000)
                    segment = segment[:start] + mute + segment[start + 1000 :]

            if many <= 20:
                a, b = seconds(3 if many == 20 else rounds, ours, with_pydub)
                rows.append(
                    row("bleep", f"{many} mutes of 1 s in an hour", 1000 * a, 1000 * b, "ms", "pydub", True)
                )
            else:
                (a,) = seconds(rounds, ours)
                rows.append(row("bleep", f"{many} mutes of 1 s in an hour", 1000 * a, None, "ms", "pydub", True))
    return rows


def level_rows(rounds: int) -> list[Row]:
    noise = np.random.default_rng(0).normal(0, 0.1, 600 * 8000).astype(np.float32)
    (a,) = seconds(rounds, lambda: block_levels_dbm0(noise, 80))
    return [row("level", "dBm0 of 10 ms blocks", 600 / a, None, "x real time", "")]


def row(
    part: str, what: str, ours: float, theirs: float | None, unit: str, peer: str, less_is_better: bool = False
) -> Row:
    ratio = None
    if theirs is not None and unit != "dB":
        ratio = theirs / ours if less_is_better else ours / theirs
    return {"part": part, "what": what, "ours": ours, "peer": peer, "theirs": theirs, "unit": unit, "times": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("build/bench/dsp.json"))
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    rows: list[Row] = []
    print(f"{'':10}{'':36}{'ours':>12}{'theirs':>12}  {'unit':14}{'times as good':>14}")
    for section in (g711_rows, resample_rows, bleep_rows, level_rows):
        for one in section(chosen.rounds):
            rows.append(one)
            theirs = "-" if one["theirs"] is None else f"{one['theirs']:.5g}"
            times = "" if one["times"] is None else f"{one['times']:.2f} {one['peer']}"
            figures = f"{one['ours']:12.5g}{theirs:>12}  {one['unit']:14}{times:>14}"
            print(f"{one['part']:10}{one['what']:36}{figures}", flush=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "cores": os.cpu_count()}
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps({**machine, "rows": rows}, indent=1) + "\n")
    print(f"Written to {chosen.json}.")


if __name__ == "__main__":
    main()
