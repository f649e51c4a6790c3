"""Builds the wheel of PJSIP's Python module once, keeps it in the cache folder, and installs it beside this Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.services.servers import cache_folder

HERE = Path(__file__).parent
_DEBIAN = ("build-essential", "swig", "python3-dev", "libssl-dev", "libsrtp2-dev", "xz-utils", "dpkg-dev")


def main() -> int:
    if importlib.util.find_spec("pjsua2") is not None:
        return 0
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = cache_folder() / "pjsua2" / tag
    if not list(folder.glob("pjsua2-*.whl")):
        missing = [
            program for program in ("gcc", "make", "swig", "xz", "apt-get") if shutil.which(program) is None
        ]
        if missing:
            print(
                f"Building pjsua2 needs {', '.join(missing)}: apt-get install {' '.join(_DEBIAN)}.",
                file=sys.stderr,
            )
            return 1
        print("Building pjsua2; this takes about 5 minutes, once.", flush=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "setuptools", "wheel"], check=True)
        subprocess.run(
            [str(HERE / "pjsua2" / "build-pjsua2.sh"), str(folder), sys.executable],
            check=True,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(folder), "pjsua2"],
        check=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
