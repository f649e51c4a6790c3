"""What the wiring chooses, what it imports, and what keeps an engine from starting at all."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from console.data_folder import DataFolder
from console.settings import load_settings
from console.wiring import Wiring
from events.errors import CallwardenError
from tests.builders.engine import ROOT


def wiring(folder: Path, **environment: str) -> Wiring:
    settings = {f"CALLWARDEN_{name}": value for name, value in environment.items()}
    return Wiring(DataFolder.at(folder), load_settings(None, settings))


def test_the_embedded_parts_need_no_client_library(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from console.cli import app\n"
        "from console.data_folder import DataFolder\n"
        "from console.settings import Settings\n"
        "from console.wiring import Wiring\n"
        f"wiring = Wiring(DataFolder.at(pathlib.Path({str(tmp_path)!r})), Settings())\n"
        "wiring.log, wiring.index, wiring.capture_log, wiring.endpoint()\n"
        "wiring.prepare_log(), wiring.prepare_index(), wiring.check_here()\n"
        "wiring.close()\n"
        "print([name for name in ('kafka', 'elasticsearch', 'pjsua2') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_parts_of_others_are_made_without_asking_them(tmp_path: Path) -> None:
    """Nothing listens at port 1: whoever connects at once would fail here."""
    made = wiring(
        tmp_path,
        ENGINE__EVENT_LOG="kafka",
        KAFKA__BOOTSTRAP="127.0.0.1:1",
        ENGINE__INDEX="elasticsearch",
        ELASTICSEARCH__URL="http://127.0.0.1:1",
        ELASTICSEARCH__SEARCH_PATIENCE_S="0",
    )
    made.check_here()
    assert made.log is not made.capture_log
    assert made.spilling_log is not None
    assert made.spilling_log.has_room
    with pytest.raises(CallwardenError, match=r"set \[elasticsearch\] url"):
        made.prepare_index()
    with pytest.raises(CallwardenError, match=r"set \[kafka\] bootstrap"):
        made.prepare_log()
    made.close()


def test_capture_writes_to_the_embedded_log_itself(tmp_path: Path) -> None:
    made = wiring(tmp_path)
    assert made.capture_log is made.log
    assert made.spilling_log is None
    made.close()


def test_a_file_that_settings_name_and_that_is_not_there(tmp_path: Path) -> None:
    made = wiring(
        tmp_path,
        ENGINE__INDEX="elasticsearch",
        ELASTICSEARCH__URL="https://127.0.0.1:1",
        ELASTICSEARCH__CA_FILE=str(tmp_path / "none.pem"),
    )
    with pytest.raises(CallwardenError, match=r"\[elasticsearch\] ca_file"):
        made.check_here()


def test_without_the_module_pjsua2_nothing_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "pjsua2" else find(name, *more)
    )
    with pytest.raises(CallwardenError, match="`make pjsua2` builds it"):
        wiring(tmp_path, ENGINE__ENDPOINT="pjsua2").check_here()


def test_an_engine_says_so_and_ends(tmp_path: Path) -> None:
    """As a user meets it, with a Python that has no such module."""
    program = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'pjsua2' else find(name, *more)\n"
        "from console.cli import main\n"
        f"sys.argv = ['callwarden', 'up', '--endpoint', 'pjsua2', '--data', {str(tmp_path)!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("callwarden: The SIP endpoint pjsua2 is not installed;")
    assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "logs").iterdir()), "No process was started."
