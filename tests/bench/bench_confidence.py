"""Confidences before and after fitting, on development speakers.

Run as ``python -m tests.bench.bench_confidence``; prints a table and writes build/bench/confidence.json. The
development sets of :mod:`tests.bench.speech_sets`, simulated telephone speech. *Before*: a word's posterior in its
lattice as it stands. *Pack*: by the pack's coefficients, which may have been fitted on these speakers. *Other
speakers*: by coefficients fitted in this run without the speaker they are tried on. (On test speakers: ``python -m
tests.bench recognizer``.)
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from recognizer.confidence import FEATURES, ConfidenceModel
from recognizer.confidence_fit import examples_of, held_out_confidences
from recognizer.evaluation.calibration import calibration_of
from recognizer.evaluation.telephone_channel import LABEL
from recognizer.evaluation.test_set import read_test_set
from recognizer.model_pack import DEFAULT_PACK, ModelPack
from tests.bench import machine
from tests.bench.speech_sets import development_tables

OUT = Path("build/bench/confidence.json")
POSTERIOR = ConfidenceModel(0.0, tuple(float(name == "agreement") for name in FEATURES))
"""The first feature is the posterior's log odds, so this logistic gives the posterior back."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_confidence")
    parser.add_argument("--pack", type=Path, default=DEFAULT_PACK)
    pack = ModelPack.load(parser.parse_args().pack)
    recordings = [recording for table in development_tables() for recording in read_test_set(table)]
    progress = Console(stderr=True)
    heard = examples_of(pack, track(recordings, description="confidence", console=progress, transient=True), print)
    try:
        held_out = held_out_confidences(heard)
    except ValueError as error:
        print(error)
        return 1
    ways = {
        "before": POSTERIOR.probabilities(heard.features),
        "pack": pack.confidence.probabilities(heard.features),
        "other speakers": held_out,
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, confidences in ways.items():
        found = calibration_of(confidences, heard.right)
        assert found is not None
        rows[name] = {
            "brier": found.brier,
            "expected_calibration_error": found.expected_error,
            "roc_area": found.roc_area,
        }
    share = float(np.mean(heard.right))
    table = Table("confidence", "Brier score", "expected calibration error", "ROC area")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.4f}" for value in row.values()))
    Console().print(table)
    speakers = len(np.unique(heard.groups))
    constant = share * (1 - share)
    print(f"{len(heard.right)} words of {speakers} speakers, {share:.1%} right, {LABEL}; constant {constant:.4f}.")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    figures = {
        "machine": machine.described(),
        "words": len(heard.right),
        "speakers": speakers,
        "share_right": share,
        "brier_of_constant": constant,
        "ways": rows,
    }
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
