"""SIP over TCP: messages cut out of a byte stream by Content-Length (RFC 3261, 18.3)."""

from __future__ import annotations

import re
from typing import Final

from telephony.sip_message import MAX_MESSAGE_BYTES, SipRefused

_LENGTH: Final = re.compile(
    rb"^(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,9})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_END_OF_HEAD: Final = re.compile(rb"\r?\n\r?\n")
MAX_HEAD_BYTES: Final = 32_768


class SipStream:
    """Feed bytes, take messages. A stream that has lost its framing cannot be mended: the connection ends."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.pings = 0
        """Keep-alives (RFC 5626, 3.5.1) seen and not yet answered by the owner."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes; return the messages that are whole now.

        Raises
        ------
        SipRefused
            No message boundary can be found any more.
        """
        self._buffer += data
        messages: list[bytes] = []
        while True:
            self._skip_keep_alives()
            match = _END_OF_HEAD.search(self._buffer)
            if match is None:
                if len(self._buffer) > MAX_HEAD_BYTES:
                    raise SipRefused(
                        "too_large", "A SIP connection sent 32768 bytes without an end of headers.", 0
                    )
                return messages
            head = bytes(self._buffer[: match.start()])
            length = _LENGTH.search(head)
            if length is None:
                raise SipRefused("no_length", "A SIP message over TCP has no Content-Length header.", 0)
            end = match.end() + int(length[1])
            if end > MAX_MESSAGE_BYTES:
                raise SipRefused("too_large", "A SIP message is longer than 65536 bytes.", 0)
            if len(self._buffer) < end:
                return messages
            messages.append(bytes(self._buffer[:end]))
            del self._buffer[:end]

    @property
    def pending(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._buffer)

    def _skip_keep_alives(self) -> None:
        while self._buffer.startswith((b"\r", b"\n")):
            if self._buffer.startswith(b"\r\n\r\n"):
                self.pings += 1
                del self._buffer[:4]
            elif b"\r\n\r\n".startswith(self._buffer):
                return
            else:
                del self._buffer[:1]
