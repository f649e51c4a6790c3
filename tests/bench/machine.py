"""What a benchmark ran on: figures are quoted with it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import psutil


def described() -> dict[str, Any]:
    """Processor, cores, memory in GB, Python."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
