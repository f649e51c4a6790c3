"""What each party of the demo call says, as lower-case words."""

from __future__ import annotations

import yaml

from tests.builders.small_recogniser import DEMO_CALL


def demo_words(who: str) -> list[str]:
    """Return the words of ``agent`` or ``customer``, in order."""
    dialogue = yaml.safe_load((DEMO_CALL / "dialogue.yaml").read_text("utf-8"))
    said = " ".join(turn["text"] for turn in dialogue["turns"] if turn["who"] == who)
    return said.replace(".", " ").replace("?", " ").lower().split()
