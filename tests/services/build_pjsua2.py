"""Builds the wheel of PJSIP's Python module once, keeps it in the cache folder, and installs it beside this Python."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.services.servers import cache_folder

HERE = Path(__file__).parent
SCRIPT = HERE / "pjsua2" / "build-pjsua2.sh"
_DEBIAN = ("build-essential", "swig", "python3-dev", "libssl-dev", "libsrtp2-dev", "xz-utils", "dpkg-dev")


def wanted_build() -> str:
    """Return the local version of the wheel that the script makes, such as ``callwarden2``."""
    found = re.search(r"\bbuild=(\w+);", SCRIPT.read_text())
    assert found is not None, "The build script names its build."
    return found[1]


def is_installed() -> bool:
    try:
        return importlib.metadata.version("pjsua2").endswith(f"+{wanted_build()}")
    except importlib.metadata.PackageNotFoundError:
        return False


def main() -> int:
    if is_installed():
        return 0
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    folder = cache_folder() / "pjsua2" / tag
    wheel = f"pjsua2-*+{wanted_build()}-{tag}-*.whl"
    if not list(folder.glob(wheel)):
        missing = [
            program
            for program in ("gcc", "make", "patch", "swig", "xz", "apt-get")
            if shutil.which(program) is None
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
            [str(SCRIPT), str(folder), sys.executable],
            check=True,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )
    (built,) = folder.glob(wheel)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--force-reinstall", str(built)],
        check=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
