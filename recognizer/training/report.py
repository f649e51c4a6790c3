"""What a training came to: the curve as a picture and the last figures as text, in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_report(run: Path) -> None:
    """Write ``report.md`` and, where matplotlib is installed, ``curve.png`` into the run's folder."""
    curve: list[dict[str, float]] = json.loads((run / "curve.json").read_text("utf-8"))
    settings: dict[str, Any] = json.loads((run / "settings.json").read_text("utf-8"))
    lines = [
        f"# Training {run.name}",
        "",
        "| hours heard | minutes | train | dev | dev accuracy |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {p['hours']:.0f} | {p['seconds'] / 60:.0f} | {p['train_objective']:.4f} | {p['dev_objective']:.4f} "
        f"| {100 * p['dev_accuracy']:.1f} % |"
        for p in curve
    ]
    lines += [
        "",
        "Objectives are log probability ratios per output frame (30 ms); higher is better.",
        "",
        "```json",
    ]
    lines += [json.dumps(settings, indent=1), "```", ""]
    (run / "report.md").write_text("\n".join(lines), "utf-8")
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    hours = [p["hours"] for p in curve]
    axes.plot(hours, [p["train_objective"] for p in curve], label="training speakers, simulated lines")
    axes.plot(hours, [p["dev_objective"] for p in curve], label="development speakers, reference line")
    axes.set_xlabel("hours of audio heard")
    axes.set_ylabel("LF-MMI objective per frame")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(run / "curve.png", dpi=120)
    pyplot.close(figure)
