"""A broker that is too old. No such broker comes by today's package clients, so a real one's list of what it speaks
is replaced on its way by that of Kafka 2.0, as the client library knows it; everything else is the broker's own."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from kafka.protocol.broker_version_data import BROKER_API_VERSIONS

from events.kafka_settings import KafkaRefused, KafkaSettings
from events.kafka_topics import prepare_topics
from tests.services.needed import kafka_bootstrap, services

pytestmark = services

API_VERSIONS = 18
UNSUPPORTED_VERSION = 35


def _receive(connection: socket.socket) -> bytes:
    size = b""
    while len(size) < 4:
        size += connection.recv(4 - len(size)) or _ended()
    left, frame = struct.unpack(">i", size)[0], b""
    while left:
        piece = connection.recv(left) or _ended()
        frame += piece
        left -= len(piece)
    return frame


def _ended() -> bytes:
    raise ConnectionError


def _old_answer(request: bytes) -> bytes:
    version, correlation = struct.unpack_from(">hi", request, 2)
    spoken = BROKER_API_VERSIONS[2, 0]
    answer = struct.pack(">ih", correlation, UNSUPPORTED_VERSION if version > 2 else 0)
    answer += struct.pack(">i", len(spoken))
    for key, (least, most) in spoken.items():
        answer += struct.pack(">hhh", key, least, most)
    return answer + (struct.pack(">i", 0) if 1 <= version <= 2 else b"")


def _serve(client: socket.socket, broker_address: tuple[str, int]) -> None:
    with contextlib.suppress(OSError), client, socket.create_connection(broker_address) as broker:
        while True:
            request = _receive(client)
            if struct.unpack_from(">h", request)[0] == API_VERSIONS:
                answer = _old_answer(request)
            else:
                broker.sendall(struct.pack(">i", len(request)) + request)
                answer = _receive(broker)
            client.sendall(struct.pack(">i", len(answer)) + answer)


@pytest.fixture
def old_broker() -> Iterator[str]:
    host, _, port = kafka_bootstrap().partition(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_serve, args=(client, (host, int(port))), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def test_a_version_that_is_too_old_is_named(old_broker: str) -> None:
    with pytest.raises(KafkaRefused, match=r"version that is not supported; .* of version 2\.5 or later"):
        prepare_topics(KafkaSettings(bootstrap=old_broker, replication=1, min_in_sync=1), [], None)
