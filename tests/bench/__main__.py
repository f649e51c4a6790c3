"""Runs the benchmarks: `python -m tests.bench [NAME...]`. Each prints its table and writes build/bench/NAME.json.

One process each, one after the other, because two cores shared by two benchmarks measure neither.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def main(names: list[str]) -> int:
    benches = {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("bench_*.py"))}
    unknown = [name for name in names if name not in benches]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; there are {', '.join(benches)}.", file=sys.stderr)
        return 2
    failed = []
    for name in names or benches:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, str(benches[name])], cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nFailed: {', '.join(failed)}.", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
