"""What a training came to: the curve as a picture and the last figures as text, in the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_WORD_ERRORS: Final = "## Words"


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
    if _draw(run / "curve.png", curve):
        lines += ["![learning curve](curve.png)", ""]
    (run / "report.md").write_text("\n".join(lines), "utf-8")


def add_word_errors(run: Path, card: Path) -> None:
    """Add the figures that an evaluation wrote to `card` to the report, in place of earlier ones."""
    report = run / "report.md"
    kept = (
        report.read_text("utf-8").split(_WORD_ERRORS)[0].rstrip() if report.exists() else f"# Training {run.name}"
    )
    report.write_text(f"{kept}\n\n{_WORD_ERRORS}\n\n{card.read_text('utf-8')}", "utf-8")


def _draw(picture: Path, curve: list[dict[str, float]]) -> bool:
    """Draw the learning curve; False without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    hours = [p["hours"] for p in curve]
    axes.plot(hours, [p["train_objective"] for p in curve], label="training speakers, simulated lines")
    axes.plot(hours, [p["dev_objective"] for p in curve], label="development speakers, reference line")
    axes.set_xlabel("hours of audio heard")
    axes.set_ylabel("LF-MMI objective per frame")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(picture, dpi=120)
    pyplot.close(figure)
    return True
