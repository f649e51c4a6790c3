"""The sockets that capture works on, opened by whoever outlives it.

The supervisor opens them once and hands them to each capture process it starts; while none runs, the kernel
keeps what callers send. A capture process that comes back reads on where the last one stopped.
"""

from __future__ import annotations

import json
import logging
import resource
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from events.errors import CallwardenError

logger = logging.getLogger(__name__)

_SPARE_FILES: Final = 256
_TIMESTAMPNS: Final = 35
_LISTEN_BACKLOG: Final = 256


class SocketRefused(CallwardenError):
    """A socket could not be opened; the text names address and port."""


@dataclass(frozen=True, slots=True)
class SocketSettings:
    """Where calls come in.

    A port of 0 lets the system choose, for tests and the demo. RTP uses the even ports from `rtp_first_port` on,
    one a leg; `legs` of them are opened at once and stay open.
    """

    sip_host: str = "0.0.0.0"
    sip_port: int = 5060
    rtp_host: str = ""
    """Empty: as `sip_host`."""
    rtp_first_port: int = 20000
    legs: int = 400
    receive_buffer_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        if not 0 <= self.sip_port <= 65535 or not 0 <= self.rtp_first_port <= 65535:
            raise ValueError("SIP and RTP ports lie between 0 and 65535.")
        if self.rtp_first_port % 2:
            raise ValueError("The first RTP port is even (RFC 3550, 11).")
        if self.legs < 1 or (self.rtp_first_port and self.rtp_first_port + 2 * self.legs > 65536):
            raise ValueError("The RTP ports, two a leg, do not fit below 65536.")
        if self.receive_buffer_bytes < 65536:
            raise ValueError("The receive buffer of a media socket is at least 65536 bytes.")


@dataclass(frozen=True, slots=True)
class CaptureSockets:
    """Open sockets: SIP over UDP, SIP over TCP (listening), and one UDP socket a leg.

    Those of SIP are None where the endpoint opens its own (`open_rtp_sockets`).
    """

    sip_udp: socket.socket | None
    sip_tcp: socket.socket | None
    rtp: tuple[socket.socket, ...]

    def _all(self) -> Iterator[socket.socket]:
        if self.sip_udp is not None and self.sip_tcp is not None:
            yield self.sip_udp
            yield self.sip_tcp
        yield from self.rtp

    def sip(self) -> tuple[socket.socket, socket.socket]:
        """Return the SIP sockets, UDP and TCP. Raises SocketRefused when there are none."""
        if self.sip_udp is None or self.sip_tcp is None:
            raise SocketRefused("The built-in SIP endpoint needs open SIP sockets, but was handed none.")
        return self.sip_udp, self.sip_tcp

    @property
    def sip_address(self) -> tuple[str, int]:
        """Host and port that SIP is served on, the same for UDP and TCP. Raises SocketRefused without SIP sockets."""
        host, port = self.sip()[0].getsockname()[:2]
        return str(host), int(port)

    @property
    def rtp_ports(self) -> tuple[int, ...]:
        return tuple(int(one.getsockname()[1]) for one in self.rtp)

    def fds(self) -> tuple[int, ...]:
        """File descriptors, for `subprocess.Popen(pass_fds=...)`."""
        return tuple(one.fileno() for one in self._all())

    def to_environment(self) -> str:
        """Return the file descriptors as text for an environment variable of the process that inherits them."""
        rtp = [one.fileno() for one in self.rtp]
        if self.sip_udp is None or self.sip_tcp is None:
            return json.dumps({"rtp": rtp})
        return json.dumps({"sip_udp": self.sip_udp.fileno(), "sip_tcp": self.sip_tcp.fileno(), "rtp": rtp})

    @classmethod
    def from_environment(cls, text: str) -> CaptureSockets:
        """Take inherited file descriptors over.

        Raises
        ------
        SocketRefused
            The text does not name open sockets.
        """
        try:
            numbers = json.loads(text)
            raise_file_limit(len(numbers["rtp"]) + 2)
            rtp = tuple(socket.socket(fileno=int(number)) for number in numbers["rtp"])
            if "sip_udp" not in numbers:
                return cls(None, None, rtp)
            return cls(
                socket.socket(fileno=int(numbers["sip_udp"])), socket.socket(fileno=int(numbers["sip_tcp"])), rtp
            )
        except (ValueError, KeyError, TypeError, OSError):
            raise SocketRefused("The sockets that capture was to inherit are not open in this process.") from None

    def close(self) -> None:
        for one in self._all():
            one.close()


def open_sockets(settings: SocketSettings) -> CaptureSockets:
    """Open everything capture needs, or nothing.

    Raises
    ------
    SocketRefused
        A port is in use, an address is not this machine's, or there are too few file descriptors.
    """
    return _open(settings, sip=True)


def open_rtp_sockets(settings: SocketSettings) -> CaptureSockets:
    """Open the media sockets alone, for an endpoint that opens SIP sockets of its own.

    Raises
    ------
    SocketRefused
        See `open_sockets`.
    """
    return _open(settings, sip=False)


def settled(settings: SocketSettings) -> SocketSettings:
    """Return the settings with a SIP port of 0 replaced by one that is free for UDP and TCP now.

    For an endpoint that opens its own SIP sockets: so it comes back on the same port when it is started again.

    Raises
    ------
    SocketRefused
    """
    if settings.sip_port:
        return settings
    opened: list[socket.socket] = []
    try:
        udp, _ = _open_sip(settings, opened)
        return replace(settings, sip_port=int(udp.getsockname()[1]))
    finally:
        for one in opened:
            one.close()


def _open(settings: SocketSettings, *, sip: bool) -> CaptureSockets:
    raise_file_limit(settings.legs + 2)
    opened: list[socket.socket] = []
    udp = tcp = None
    try:
        if sip:
            udp, tcp = _open_sip(settings, opened)
        rtp = tuple(_open_rtp(settings, opened))
    except BaseException:
        for one in opened:
            one.close()
        raise
    kept = {id(one) for one in (udp, tcp, *rtp)}
    for one in opened:
        if id(one) not in kept:
            one.close()
    _say_when_capped(rtp[0], settings.receive_buffer_bytes)
    return CaptureSockets(udp, tcp, rtp)


def host_towards(peer: str, bound: str) -> str:
    """Return the address of ours that `peer` reaches us under; `bound` where that is one interface."""
    if bound != "0.0.0.0":
        return bound
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))  # sends nothing, asks for the route only
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def raise_file_limit(sockets: int) -> None:
    """Let this process hold `sockets` more files than usual.

    Raises
    ------
    SocketRefused
        The hard limit is lower; the text says how to raise it.
    """
    needed = sockets + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise SocketRefused(
                f"Capture needs {needed} open files, but this process may open {hard} at most (see `ulimit -Hn`)."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _bind(kind: socket.SocketKind, host: str, port: int, what: str, opened: list[socket.socket]) -> socket.socket:
    one = socket.socket(socket.AF_INET, kind)
    opened.append(one)
    if kind is socket.SOCK_STREAM:
        # Only for TCP: with it, connections of the last process in TIME_WAIT do not block the port.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((host, port))
    except OSError as error:
        raise SocketRefused(f"{what} cannot be opened on {host}:{port}: {error.strerror}.") from None
    one.setblocking(False)
    return one


def _open_sip(settings: SocketSettings, opened: list[socket.socket]) -> tuple[socket.socket, socket.socket]:
    host, port = settings.sip_host, settings.sip_port
    for attempt in range(20):
        try:
            udp = _bind(socket.SOCK_DGRAM, host, port, "SIP over UDP", opened)
            tcp = _bind(socket.SOCK_STREAM, host, int(udp.getsockname()[1]), "SIP over TCP", opened)
            break
        except SocketRefused:
            if port or attempt == 19:
                raise
    udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer_bytes)
    tcp.listen(_LISTEN_BACKLOG)
    return udp, tcp


def _open_rtp(settings: SocketSettings, opened: list[socket.socket]) -> Iterator[socket.socket]:
    host = settings.rtp_host or settings.sip_host
    for index in range(settings.legs):
        port = settings.rtp_first_port + 2 * index if settings.rtp_first_port else 0
        one = _bind(socket.SOCK_DGRAM, host, port, "RTP", opened)
        while one.getsockname()[1] % 2:
            # The system chose an odd port, RTP is even. It stays open until all are found: not chosen again.
            one = _bind(socket.SOCK_DGRAM, host, 0, "RTP", opened)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, settings.receive_buffer_bytes)
        one.setsockopt(socket.SOL_SOCKET, _TIMESTAMPNS, 1)
        yield one


def _say_when_capped(one: socket.socket, wanted: int) -> None:
    # Linux reports twice what was asked, its own bookkeeping included (socket(7)).
    got = one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    if got < wanted:
        limit = Path("/proc/sys/net/core/rmem_max")
        logger.warning(
            "Media sockets got receive buffers of %d instead of %d bytes, because net.core.rmem_max is %s; "
            "bursts and restarts may lose packets until it is raised (sysctl -w net.core.rmem_max=%d).",
            got,
            wanted,
            limit.read_text().strip() if limit.exists() else "lower",
            wanted,
        )
