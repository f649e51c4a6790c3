"""The report of a training: its curve, and the word errors of the pack that came of it."""

from __future__ import annotations

import json
from pathlib import Path

from recognizer.training.report import add_word_errors, write_report


def finished_run(folder: Path) -> Path:
    points = [
        {"hours": 10.0, "seconds": 60.0, "train_objective": 0.1, "dev_objective": 0.2, "dev_accuracy": 0.31},
        {"hours": 20.0, "seconds": 120.0, "train_objective": 0.3, "dev_objective": 0.4567, "dev_accuracy": 0.52},
    ]
    (folder / "curve.json").write_text(json.dumps(points), "utf-8")
    (folder / "settings.json").write_text(json.dumps({"hours": 20.0}), "utf-8")
    write_report(folder)
    return folder / "report.md"


def test_every_point_of_the_curve_is_a_row(tmp_path: Path) -> None:
    text = finished_run(tmp_path).read_text("utf-8")
    assert "| 10 | 1 | 0.1000 | 0.2000 | 31.0 % |" in text
    assert "| 20 | 2 | 0.3000 | 0.4567 | 52.0 % |" in text


def test_new_word_errors_replace_those_of_an_earlier_measurement(tmp_path: Path) -> None:
    report = finished_run(tmp_path)
    card = tmp_path / "word-errors.md"
    for rate in ("31.7", "28.4"):
        card.write_text(f"| set | {rate} |\n", "utf-8")
        add_word_errors(tmp_path, card)
    text = report.read_text("utf-8")
    assert "28.4" in text
    assert "31.7" not in text
    assert "0.4567" in text
