"""Settings of the Kafka driver, apart from it so that the command line can read them without the client library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from events.errors import LogUnavailable

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{0,100}")


class KafkaRefused(LogUnavailable):
    """The cluster answers but must not or cannot be used as it is: a person has to change a setting or a topic.

    It is a LogUnavailable because whoever runs already should keep what it has and wait; at the start of an
    engine it is a reason not to start.
    """


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    bootstrap: str = "127.0.0.1:9092"
    """host:port of one or more brokers, separated by commas."""
    prefix: str = "callwarden."
    """Before the names of topics and consumer groups, so that several engines can share a cluster."""
    create_topics: bool = True
    """Create topics that are missing; false where only an administrator may."""
    replication: int = 3
    """Copies of every topic that is created; existing topics must have at least as many. 1 for a single broker."""
    min_in_sync: int = 2
    """Copies that must have an event before it counts as written (min.insync.replicas)."""

    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    """Empty: the brokers ask for no credentials."""
    sasl_username: str = ""
    sasl_password: str = ""
    tls: bool = False
    tls_ca_file: Path | None = None
    """PEM certificates that sign the brokers'; None: those that the system trusts."""
    tls_certificate: Path | None = None
    """Our own PEM certificate, where the brokers ask for one."""
    tls_key: Path | None = None
    tls_key_password: str = ""

    linger_ms: int = 5
    """How long an event waits for others to share a request with."""
    batch_kb: int = 256
    """Events of one partition that travel together, at most."""
    most_pending: int = 20_000
    """Events handed to the client and not acknowledged yet, at most; one takes about 3 KB."""
    append_within_s: float = 10.0
    """An append that is not acknowledged for so long counts as failed; its events stay on their way."""
    connect_within_s: float = 5.0
    request_within_s: float = 10.0
    """How long a broker may take to answer before it counts as gone."""

    join_within_s: float = 20.0
    """How long a first read waits to be let into its group."""
    session_s: float = 10.0
    """A member that was not heard of for so long is dead to its group."""
    heartbeat_s: float = 1.0
    """How often a member says that it lives, and learns that others came or went."""
    hand_over_within_s: float = 60.0
    """A member that is still busy with a partition it should hand over keeps it for so long."""
    most_buffered: int = 5_000
    """Events that a reader takes from a broker at once, at most."""

    def __post_init__(self) -> None:
        addresses = [address.strip() for address in self.bootstrap.split(",")]
        if not all(re.fullmatch(r"[^\s:]+:\d{1,5}|\[[0-9A-Fa-f:]+\]:\d{1,5}", address) for address in addresses):
            raise ValueError("bootstrap is host:port, or several of them separated by commas.")
        if not _NAME.fullmatch(self.prefix):
            raise ValueError("prefix is made of letters, digits, '.', '_' and '-', at most 100 of them.")
        if not 1 <= self.min_in_sync <= self.replication:
            raise ValueError("1 <= min_in_sync <= replication must hold.")
        if self.sasl_mechanism and not (self.sasl_username and self.sasl_password):
            raise ValueError("sasl_mechanism needs sasl_username and sasl_password.")
        if self.sasl_username and not self.sasl_mechanism:
            raise ValueError("sasl_username needs sasl_mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512.")
        if not self.tls and (self.tls_ca_file or self.tls_certificate or self.tls_key):
            raise ValueError("tls_ca_file, tls_certificate and tls_key count only with tls = true.")
        if self.tls_key and not self.tls_certificate:
            raise ValueError("tls_key needs tls_certificate.")
        if self.linger_ms < 0 or not 16 <= self.batch_kb <= 900:
            raise ValueError("linger_ms is not negative, and batch_kb lies between 16 and 900.")
        if self.most_pending < 100 or self.most_buffered < 1:
            raise ValueError("most_pending is at least 100, and most_buffered at least 1.")
        if min(self.append_within_s, self.connect_within_s, self.request_within_s, self.join_within_s) <= 0:
            raise ValueError("append_within_s, connect_within_s, request_within_s and join_within_s are positive.")
        if not 0 < 2 * self.heartbeat_s <= self.session_s <= self.hand_over_within_s:
            raise ValueError("2 * heartbeat_s <= session_s <= hand_over_within_s must hold.")
