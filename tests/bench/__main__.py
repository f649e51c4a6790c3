"""Runs the benchmarks: `python -m tests.bench [NAME...]`. Each prints its table and writes build/bench/NAME.json.

`services` stands for those that measure real Kafka, Elasticsearch and pjsua2 beside the embedded parts; they need the
servers' addresses in the environment: `make bench-services`. One process each, one after the other, because two cores
shared by two benchmarks measure neither.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
SERVICES: Final[Sequence[tuple[str, ...]]] = (
    ("kafka_log",),
    ("index",),
    ("capture", "--endpoint", "built-in", "pjsua2"),
    ("capture", "--sink", "kafka"),
)


def main(names: list[str]) -> int:
    benches = {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("bench_*.py"))}
    unknown = [name for name in names if name not in benches and name != "services"]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(benches)}.", file=sys.stderr)
        return 2
    runs: list[tuple[str, ...]] = []
    for name in names or [name for name in benches if name != "kafka_log"]:
        runs += SERVICES if name == "services" else [(name,)]
    failed = []
    for name, *arguments in runs:
        print(f"\n== {' '.join((name, *arguments))}", flush=True)
        command = [sys.executable, "-m", f"tests.bench.{benches[name].stem}", *arguments]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}.", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
