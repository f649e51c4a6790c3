"""The socket that pages are served on, opened by whoever outlives the console's process."""

from __future__ import annotations

import os
import socket

from events.errors import CallwardenError


class AddressInUse(CallwardenError):
    """The HTTP address cannot be listened on."""


def listen(host: str, port: int) -> socket.socket:
    """Open the socket. Raises AddressInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise AddressInUse(
            f"Pages cannot be served at {host}:{port}: {os.strerror(error.errno or 0).lower()}; "
            "choose another address with --http or [engine] http_host and http_port."
        ) from None
    return listener
