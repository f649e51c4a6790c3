"""Which test sets the recogniser's benchmarks hear, and which of them may be looked at to choose something.

``CALLWARDEN_SPEECH_SETS`` names a folder of tables (``*.tsv``, columns audio, text and, if known, speaker);
without it the sixteen committed utterances are heard. A table called ``dev``, ``dev-...`` or ``...-dev`` is of
*development* speakers: what a setting costs and brings is shown on those alone, so that nothing is ever chosen on
test speakers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

VARIABLE = "CALLWARDEN_SPEECH_SETS"
_TESTS = Path(__file__).parent.parent
COMMITTED = _TESTS / "golden" / "speech"
REGRESSION_SET = _TESTS / "recognizer" / "regression" / "librispeech-dev.tsv"


def tables() -> list[Path]:
    """All tables, in the order of their names.

    Raises
    ------
    SystemExit
        The folder holds none.
    """
    folder = Path(os.environ.get(VARIABLE) or COMMITTED)
    found = sorted(folder.glob("*.tsv"))
    if not found:
        raise SystemExit(f"There is no test set (*.tsv) in {folder}.")
    return found


def is_development(table: Path) -> bool:
    parts = table.stem.split("-")
    return "dev" in (parts[0], parts[-1])


def development_tables() -> Sequence[Path]:
    """The tables on which something may be chosen; the committed regression set where the folder has none."""
    return [table for table in tables() if is_development(table)] or [REGRESSION_SET]
