"""PJSIP's own log on its way into ours: without addresses and numbers, and bounded."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("telephony.pjsip")

_LEVELS: Final = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO}
_PERSONAL: Final = re.compile(
    r"""
    (?:sips?|tel):[^\s<>"',)]*       # addresses
    | "[^"]*"                        # display names
    | [^\s<>"'@=:;,(]+@[^\s<>"';,)]+ # addresses without a scheme
    | \+?\d{5,}                      # telephone numbers (and whatever else is that long)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_EVERY_S: Final = 10.0
_LINES: Final = 20


class PjsipLog:
    """Takes lines on one thread. At most 20 lines in 10 seconds go through; how many did not is said after."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since = now()
        self._lines = 0

    def line(self, level: int, text: str) -> None:
        """Pass a line on; `level` is PJSIP's, 1 for errors."""
        now = self._now()
        if now - self._since >= _EVERY_S:
            if self._lines > _LINES:
                logger.warning("PJSIP had %d more lines to say in that time.", self._lines - _LINES)
            self._since, self._lines = now, 0
        self._lines += 1
        if self._lines <= _LINES:
            first, _, _ = text.strip().partition("\n")
            logger.log(_LEVELS.get(level, logging.DEBUG), "%s", _PERSONAL.sub("...", first.strip())[:200])
