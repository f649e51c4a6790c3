"""What was refused: counted by cause, told in one sentence, and not again and again for one source."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Final

from events.metrics import SIP_REFUSED, count
from telephony.sip_message import SipRefused

logger = logging.getLogger(__name__)

_SOURCES: Final = 1024
_SAID_EACH: Final = 10


class Refusals:
    """Counts refused messages by source; the sources seen last are remembered."""

    def __init__(self) -> None:
        self._by_source: OrderedDict[str, int] = OrderedDict()

    def note(self, error: SipRefused, source: str) -> None:
        """Count one refusal; a source that goes on is not worth a line for each message."""
        count(SIP_REFUSED, cause=error.cause)
        times = self._by_source.pop(source, 0) + 1
        self._by_source[source] = times
        if len(self._by_source) > _SOURCES:
            self._by_source.popitem(last=False)
        if times <= _SAID_EACH or times % 100 == 0:
            logger.warning("%s It came from %s (%d refused from there).", error, source, times)
