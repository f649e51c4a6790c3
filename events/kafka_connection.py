"""How we connect to Kafka: options, clients, and the library's errors and log lines in our own words."""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors

from events.errors import CallwardenError, LogUnavailable, NeverRetry
from events.kafka_diagnosis import nobody_there, refused_credentials, why_unreachable
from events.kafka_settings import KafkaRefused, KafkaSettings

_log = logging.getLogger(__name__)

MOST_EVENT_BYTES: Final = 4 << 20
_MAX_POLL_S: Final = 300
_ABSENT: Final = (
    kafka_errors.KafkaTimeoutError,
    kafka_errors.NodeNotReadyError,
    kafka_errors.KafkaConnectionError,
    OSError,
)
OLDEST_BROKER: Final = (2, 5)
"""From 2.5 on a producer that was told of a gap in its numbers goes on by itself (KIP-360)."""


def new_producer(settings: KafkaSettings) -> Any:
    """Connect a producer that never gives up a record by itself; `delivery_timeout_ms` would kill it for good."""
    return _opened(
        KafkaProducer,
        **_common(settings),
        acks="all",
        enable_idempotence=True,
        delivery_timeout_ms=float("inf"),
        linger_ms=settings.linger_ms,
        batch_size=settings.batch_kb << 10,
        max_request_size=MOST_EVENT_BYTES,
        max_block_ms=round(settings.connect_within_s * 1000),
        metrics_enabled=False,
    )


def new_consumer(settings: KafkaSettings, **more: Any) -> Any:
    """Connect a consumer that commits nothing by itself."""
    return _opened(
        KafkaConsumer,
        **_common(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        metrics_enabled=False,
        **more,
    )


def new_member(settings: KafkaSettings, group: str, assignor: Any) -> Any:
    """Connect a consumer that is there for its membership of `group` alone."""
    return new_consumer(
        settings,
        group_id=group,
        partition_assignment_strategy=(assignor,),
        session_timeout_ms=round(settings.session_s * 1000),
        heartbeat_interval_ms=round(settings.heartbeat_s * 1000),
        max_poll_interval_ms=_MAX_POLL_S * 1000,
    )


def new_reader(settings: KafkaSettings) -> Any:
    """Connect a consumer that fetches what it is told to, without a group."""
    return new_consumer(
        settings,
        group_id=None,
        fetch_max_wait_ms=250,
        max_poll_records=settings.most_buffered,
    )


def new_admin(settings: KafkaSettings) -> Any:
    """Connect an administrator's client. Raises LogUnavailable, which says why in one sentence."""
    options = _common(settings)
    del options["allow_auto_create_topics"]
    try:
        return _opened(KafkaAdminClient, **options)
    except _ABSENT:
        # What the client met on its way is not in its error, which says only that time is up.
        raise why_unreachable(settings, options.get("ssl_context")) from None


def _opened(kind: Any, **options: Any) -> Any:
    """Return a new client of the library, which leaves its thread and sockets behind when it fails to open."""
    made: list[Any] = []

    def connection(**more: Any) -> Any:
        made.append(kind.DEFAULT_CONFIG["kafka_client"](**more))
        return made[-1]

    try:
        return kind(**options, kafka_client=connection)
    except BaseException:
        for client in made:
            client.close()
            client._manager._net.stop()
        raise


def _common(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.bootstrap.split(",")],
        "client_id": "callwarden",
        "bootstrap_timeout_ms": round(settings.connect_within_s * 1000),
        "request_timeout_ms": round(settings.request_within_s * 1000),
        "reconnect_backoff_max_ms": 500,
        "allow_auto_create_topics": False,
        "security_protocol": ("SASL_" if settings.sasl_mechanism else "")
        + ("SSL" if settings.tls else "PLAINTEXT"),
    }
    if settings.sasl_mechanism:
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password
    if settings.tls:
        options["ssl_context"] = _tls(settings)
    _calm_library()
    return options


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file)
    except (OSError, ssl.SSLError):
        raise KafkaRefused(
            f"The file {settings.tls_ca_file} holds no readable PEM certificate; set [kafka] tls_ca_file."
        ) from None
    if settings.tls_certificate:
        try:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key, settings.tls_key_password or None)
        except (OSError, ssl.SSLError):
            raise KafkaRefused(
                f"The certificate {settings.tls_certificate} or its key cannot be read or do not belong together; "
                "set [kafka] tls_certificate, tls_key and tls_key_password."
            ) from None
    return context


# Errors


@contextlib.contextmanager
def in_our_words(settings: KafkaSettings, what: str) -> Iterator[None]:
    """Turn the library's errors into LogUnavailable with one sentence; `what` ends "Kafka cannot ..."."""
    try:
        yield
    except CallwardenError:
        raise
    except (kafka_errors.KafkaError, OSError, RuntimeError) as error:
        raise translated(settings, error, what) from None


def translated(settings: KafkaSettings, error: BaseException, what: str) -> CallwardenError:
    """Return our own error for one of the library's. Its text is not passed on."""
    where = settings.bootstrap
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return refused_credentials(settings)
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError | kafka_errors.IllegalSaslStateError):
        return KafkaRefused(
            f"The Kafka brokers at {where} do not take {settings.sasl_mechanism or 'connections without SASL'}; "
            "set [kafka] sasl_mechanism."
        )
    if isinstance(error, kafka_errors.AuthorizationError):
        return KafkaRefused(
            f"The Kafka brokers at {where} do not let this user {what} ({type(error).__name__}); "
            "give it the rights, or set [kafka] sasl_username to one that has them."
        )
    if isinstance(error, kafka_errors.UnsupportedVersionError | kafka_errors.UnrecognizedBrokerVersion):
        oldest = ".".join(map(str, OLDEST_BROKER))
        return KafkaRefused(
            f"The Kafka brokers at {where} are of a version that is not supported; "
            f"set [kafka] bootstrap to a cluster of version {oldest} or later."
        )
    if isinstance(error, kafka_errors.MessageSizeTooLargeError | kafka_errors.RecordListTooLargeError):
        return NeverRetry("An event is larger than its Kafka topic takes; raise the topic's max.message.bytes.")
    if isinstance(error, _ABSENT):
        return nobody_there(settings)
    return LogUnavailable(f"The Kafka brokers at {where} cannot {what} now ({type(error).__name__}).")


# The library's log


class _Calm(logging.Handler):
    """Passes each place's line on at most once a minute, quietly: a broker that is away gives hundreds a second."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next: dict[tuple[str, int], float] = {}
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        place = (record.pathname, record.lineno)
        with self._guard:
            if now < self._next.get(place, 0.0):
                return
            self._next[place] = now + 60.0
        _log.debug("The Kafka client says: %s", record.getMessage())


_calm = _Calm()


def _calm_library() -> None:
    library = logging.getLogger("kafka")
    if _calm not in library.handlers:
        library.addHandler(_calm)
        library.propagate = False
        library.setLevel(logging.WARNING)
