"""SIP over UDP and TCP: datagrams and connections become messages with a way back."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol, cast

from telephony.sip_message import SipRefused
from telephony.sip_stream import SipStream

Address = tuple[str, int]
MAX_CONNECTIONS: Final = 1024
_HALF_MESSAGE_S: Final = 30.0
"""How long a connection may take over one message."""


class Flow(Protocol):
    """Where a message came from, and the way back to it."""

    protocol: str
    """``UDP`` or ``TCP``."""
    source: Address

    @property
    def alive(self) -> bool: ...

    def send(self, data: bytes, to: Address | None = None) -> None:
        """Send to `to` (datagrams only), by default to the source. What cannot be sent is lost, as in UDP."""
        ...


class Receiver(Protocol):
    """What the endpoint offers to transports."""

    def received(self, data: bytes, flow: Flow) -> None:
        """Take one message."""
        ...

    def refused(self, error: SipRefused, flow: Flow) -> None:
        """Take note of bytes that are no message."""
        ...


class UdpFlow:
    protocol = "UDP"

    def __init__(self, transport: asyncio.DatagramTransport, source: Address) -> None:
        self._transport = transport
        self.source = source

    @property
    def alive(self) -> bool:
        return not self._transport.is_closing()

    def send(self, data: bytes, to: Address | None = None) -> None:
        if self.alive:
            self._transport.sendto(data, to or self.source)


class UdpPort(asyncio.DatagramProtocol):
    """The endpoint's datagram socket."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if data.strip(b"\r\n\0\t "):  # else a keep-alive
            self._receiver.received(data, self.flow((addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        """An ICMP error of an earlier answer: the transaction's timers deal with it."""

    def flow(self, to: Address) -> UdpFlow:
        assert self._transport is not None
        return UdpFlow(self._transport, to)


class TcpConnection(asyncio.Protocol):
    """One connection, accepted or opened by us."""

    protocol = "TCP"

    def __init__(self, receiver: Receiver, connections: set[TcpConnection]) -> None:
        self._receiver = receiver
        self._connections = connections
        self._stream = SipStream()
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.source: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port = self._transport.get_extra_info("peername")[:2]
        self.source = (host, port)
        if len(self._connections) >= MAX_CONNECTIONS:
            self._receiver.refused(SipRefused("connections", "There are 1024 SIP connections already.", 0), self)
            self._transport.abort()
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._stop_watching()

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._stream.feed(data)
        except SipRefused as error:
            self._receiver.refused(error, self)
            self.close()
            return
        for _ in range(self._stream.pings):
            self.send(b"\r\n")
        self._stream.pings = 0
        self._stop_watching()
        if self._stream.pending:
            self._watch = asyncio.get_running_loop().call_later(_HALF_MESSAGE_S, self._give_up)
        for message in messages:
            self._receiver.received(message, self)

    @property
    def alive(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, data: bytes, to: Address | None = None) -> None:
        if self.alive and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _give_up(self) -> None:
        self._receiver.refused(
            SipRefused("half_message", "A SIP connection left a message unfinished for 30 seconds.", 0), self
        )
        self.close()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None


class SipTransport:
    """Both transports of one endpoint, on sockets that are open already."""

    def __init__(self, udp: socket.socket, tcp: socket.socket, receiver: Receiver) -> None:
        self._sockets = udp, tcp
        self._receiver = receiver
        self._connections: set[TcpConnection] = set()
        self._port: UdpPort | None = None
        self._datagrams: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        udp, tcp = self._sockets
        self._datagrams, self._port = await loop.create_datagram_endpoint(
            lambda: UdpPort(self._receiver), sock=udp
        )
        self._server = await loop.create_server(self._connection, sock=tcp)

    def udp_flow(self, to: Address) -> UdpFlow:
        assert self._port is not None
        return self._port.flow(to)

    def tcp_flow(self, to: Address) -> Flow | None:
        """Return an open connection with `to`, if there is one."""
        return next((one for one in self._connections if one.source == to and one.alive), None)

    async def connect(self, to: Address, timeout_s: float) -> Flow:
        """Open a connection. Raises OSError when it cannot be opened in time."""
        loop = asyncio.get_running_loop()
        _, flow = await asyncio.wait_for(loop.create_connection(self._connection, *to), timeout_s)
        return flow

    def close(self) -> None:
        if self._datagrams is not None:
            self._datagrams.close()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    def _connection(self) -> TcpConnection:
        return TcpConnection(self._receiver, self._connections)
