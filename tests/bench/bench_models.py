"""Acoustic models from elsewhere beside ours, in the same run: onnxruntime, kaldi-native-fbank.

    python -m tests.bench models [--json build/bench/models.json] [--rounds 5]

Processor time for a minute of noise, medians over interleaved rounds, on one core: the shipped network in numpy and
numba, and exported, in onnxruntime; Kaldi's filter banks, ours and kaldi-native-fbank's, at 16 kHz.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import kaldi_native_fbank
import numpy as np

from dsp.resample import resample
from recognizer.acoustic_model import AcousticModel
from recognizer.kaldi_fbank import FbankKernel, FbankSettings
from recognizer.model_pack import DEFAULT_PACK
from recognizer.onnx_acoustic import OnnxAcousticModel
from recognizer.onnx_export import export_pack

SECONDS = 60


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


def networks(rounds: int, folder: Path) -> dict[str, Any]:
    section = export_pack(DEFAULT_PACK, folder)
    ours = AcousticModel.load(DEFAULT_PACK / "acoustic.npz", section.scale, "float32")
    theirs = OnnxAcousticModel(folder / section.file, section, ours.statistics)
    features = np.random.default_rng(0).standard_normal((100 * SECONDS, 40)).astype(np.float32)

    def heard(model: Any) -> np.ndarray:
        stream = model.stream()
        rows = [stream.accept(features[at : at + 10]) for at in range(0, len(features), 10)]
        return np.concatenate([*rows, stream.finish()])

    furthest = float(np.abs(heard(ours) - heard(theirs)).max())
    own, peer = seconds(rounds, lambda: heard(ours), lambda: heard(theirs))
    return {"what": "network", "own": own / SECONDS, "peer": peer / SECONDS, "furthest": furthest}


def filter_banks(rounds: int) -> dict[str, Any]:
    audio = resample(np.random.default_rng(0).normal(0, 0.1, 8000 * SECONDS).astype(np.float32), 8000, 16000)
    kernel = FbankKernel(FbankSettings())
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = 16000
    options.mel_opts.num_bins = 80
    options.mel_opts.high_freq = -400
    samples = audio.tolist()

    def theirs() -> np.ndarray:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(16000, samples)
        return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])

    furthest = float(np.abs(kernel.frames(audio)[:, :40] - theirs()[:, :40]).max())
    own, peer = seconds(rounds, lambda: kernel.frames(audio), theirs)
    return {"what": "filter banks", "own": own / SECONDS, "peer": peer / SECONDS, "furthest": furthest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("build/bench/models.json"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [networks(given.rounds, Path(folder)), filter_banks(given.rounds)]
    for row in rows:
        print(
            f"{row['what']:<14} ours {1000 * row['own']:.2f} ms a second of audio, peer {1000 * row['peer']:.2f} ms, "
            f"ratio {row['own'] / row['peer']:.2f}; furthest difference {row['furthest']:.1e}"
        )
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(
        json.dumps({"machine": platform.processor() or platform.machine(), "rows": rows}, indent=2)
    )


if __name__ == "__main__":
    main()
