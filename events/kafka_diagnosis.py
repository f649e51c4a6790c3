"""Why Kafka brokers cannot be talked to, asked of their sockets: the client says only that its time is up.

Two requests are spoken by hand, because their answers tell the most: SaslHandshake, whether a broker listens at all
and whether it wants credentials, and of which kind; SaslAuthenticate, whether ours are right
(https://kafka.apache.org/protocol, keys 17 and 36).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Any, Final

from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram

from events.errors import LogUnavailable
from events.kafka_settings import KafkaRefused, KafkaSettings

_WITHIN_S: Final = 2.0
_HOSTNAME_MISMATCH: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""
_SASL_HANDSHAKE: Final = 17
_UNSUPPORTED_MECHANISM: Final = 33
_NO_SASL_HERE: Final = 34
_SASL_AUTHENTICATE: Final = 36
_MOST_ANSWER: Final = 4096


def nobody_there(settings: KafkaSettings) -> LogUnavailable:
    return LogUnavailable(f"No Kafka broker answers at {settings.bootstrap}; start it or set [kafka] bootstrap.")


def why_unreachable(settings: KafkaSettings, context: ssl.SSLContext | None) -> LogUnavailable:
    """Return the reason in one sentence that names the setting to change; takes some seconds at most.

    Parameters
    ----------
    context
        With which TLS is spoken; None without TLS.
    """
    for address in settings.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        host = host.strip("[]")
        try:
            connection = socket.create_connection((host, int(port)), _WITHIN_S)
        except OSError:
            continue
        with contextlib.closing(connection):
            try:
                secured = connection if context is None else context.wrap_socket(connection, server_hostname=host)
            except (OSError, ValueError) as error:
                return _why_no_tls(settings, error)
            with contextlib.closing(secured):
                return _why_not(settings, secured)
    return nobody_there(settings)


def _why_no_tls(settings: KafkaSettings, error: Exception) -> LogUnavailable:
    where = settings.bootstrap
    if not isinstance(error, ssl.SSLCertVerificationError):
        return KafkaRefused(f"What listens at {where} does not speak TLS; set [kafka] tls to false, or bootstrap.")
    if error.verify_code in _HOSTNAME_MISMATCH:
        return KafkaRefused(
            f"The certificate of the Kafka broker at {where} does not hold that name; "
            "set [kafka] bootstrap to one that it holds."
        )
    return KafkaRefused(
        f"The certificate of the Kafka broker at {where} is not signed by one that is trusted here; "
        "set [kafka] tls_ca_file to the one that signed it."
    )


def _why_not(settings: KafkaSettings, connection: socket.socket) -> LogUnavailable:
    where, mechanism = settings.bootstrap, settings.sasl_mechanism
    try:
        answer = _sasl_handshake(connection, mechanism or "PLAIN")
    except TimeoutError:
        return LogUnavailable(f"What listens at {where} does not answer; is it a Kafka broker, and does it hang?")
    except (OSError, ValueError, struct.error):
        if settings.tls and not settings.tls_certificate:
            return KafkaRefused(
                f"The Kafka broker at {where} ends the connection; if it asks for a certificate of ours, "
                "set [kafka] tls_certificate and tls_key."
            )
        asked = "tls_certificate" if settings.tls else "tls to true"
        return KafkaRefused(
            f"What listens at {where} does not talk to us as a Kafka broker; "
            f"set [kafka] {asked} if its listener asks for that, or bootstrap."
        )
    offered = ", ".join(answer.mechanisms)
    if answer.error == _NO_SASL_HERE and mechanism:
        return KafkaRefused(f'The Kafka broker at {where} takes no credentials; set [kafka] sasl_mechanism to "".')
    if answer.error == _UNSUPPORTED_MECHANISM and mechanism:
        return KafkaRefused(
            f"The Kafka broker at {where} takes the mechanisms {offered}, not {mechanism}; set [kafka] sasl_mechanism."
        )
    if answer.error != _NO_SASL_HERE and not mechanism:
        return KafkaRefused(
            f"The Kafka broker at {where} asks for credentials by {offered or 'PLAIN'}; "
            "set [kafka] sasl_mechanism, sasl_username and sasl_password."
        )
    if answer.error == 0 and not _lets_in(settings, connection):
        return refused_credentials(settings)
    return LogUnavailable(
        f"The Kafka broker at {where} answers, but no connection to its cluster comes about; "
        "is it starting, and are the addresses that it advertises reachable from here?"
    )


def refused_credentials(settings: KafkaSettings) -> KafkaRefused:
    return KafkaRefused(
        f"The Kafka brokers at {settings.bootstrap} refuse the credentials; "
        "set [kafka] sasl_username and sasl_password."
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    error: int
    mechanisms: tuple[str, ...]


def _sasl_handshake(connection: socket.socket, mechanism: str) -> _Answer:
    name = mechanism.encode()
    answer = _ask(connection, _SASL_HANDSHAKE, 1, struct.pack(">h", len(name)) + name)
    error, count = struct.unpack_from(">hi", answer)
    mechanisms, at = [], 6
    for _ in range(count):
        (length,) = struct.unpack_from(">h", answer, at)
        mechanisms.append(answer[at + 2 : at + 2 + length].decode("ascii", "replace"))
        at += 2 + length
    return _Answer(error, tuple(mechanisms))


def _lets_in(settings: KafkaSettings, connection: socket.socket) -> bool:
    """Return False when the broker says that the credentials are wrong; behind an accepted handshake."""
    kind = SaslMechanismPlain if settings.sasl_mechanism == "PLAIN" else SaslMechanismScram
    mechanism: Any = kind(
        sasl_mechanism=settings.sasl_mechanism,
        sasl_plain_username=settings.sasl_username,
        sasl_plain_password=settings.sasl_password,
    )
    try:
        while not mechanism.is_done():
            token = mechanism.auth_bytes()
            answer = _ask(connection, _SASL_AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
            error, message = struct.unpack_from(">hh", answer)
            if error:
                return False
            at = 4 + max(0, message)
            (length,) = struct.unpack_from(">i", answer, at)
            mechanism.receive(answer[at + 4 : at + 4 + length])
    except (OSError, ValueError, KeyError, struct.error):
        return True
    return True


def _ask(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Send one request and return what follows the answer's header."""
    connection.settimeout(_WITHIN_S)
    request = struct.pack(">hhih", key, version, 1, 0) + body  # correlation id 1, a client name of no letters
    connection.sendall(struct.pack(">i", len(request)) + request)
    size, correlation = struct.unpack(">ii", _receive(connection, 8))
    if not 4 < size <= _MOST_ANSWER or correlation != 1:
        raise ValueError("This is no answer of a Kafka broker.")
    return _receive(connection, size - 4)


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ValueError("The connection was ended.")
        received += piece
    return received
