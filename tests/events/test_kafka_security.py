"""Credentials and TLS against a real broker with listeners of each kind: what works, and what a wrong one says."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from events.kafka_log import KafkaLog
from events.kafka_settings import KafkaRefused, KafkaSettings
from events.kafka_topics import prepare_topics
from events.log import Group
from events.topics import Topic
from tests.contracts.event_log_workers import make_event
from tests.services.needed import own_servers, services
from tests.services.servers import KafkaCluster

pytestmark = services

STAGES = frozenset({"stage"})
TOPIC = Topic("secured", STAGES, STAGES, None, 36_500.0, partitions=2)


class SecuredBroker(KafkaCluster):
    """A broker that listens four times: without security, with passwords, with TLS, with both."""

    def __init__(self) -> None:
        super().__init__(1)
        authority = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(_certificate(name, authority, name, authority, authority=True))
        self.client = self._signed(name, authority, "client")
        broker = self._signed(name, authority, "broker")
        both = self.folder / "broker-both.pem"
        both.write_bytes(broker[1].read_bytes() + broker[0].read_bytes())
        port = self.port
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        self.configure(
            f"""
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 10},PASSWORDS://127.0.0.1:{port + 3},\
TLS://127.0.0.1:{port + 4},BOTH://127.0.0.1:{port + 5}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},PASSWORDS://127.0.0.1:{port + 3},TLS://127.0.0.1:{port + 4},\
BOTH://127.0.0.1:{port + 5}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PASSWORDS:SASL_PLAINTEXT,TLS:SSL,BOTH:SASL_SSL
listener.name.passwords.sasl.enabled.mechanisms=PLAIN
listener.name.passwords.plain.sasl.jaas.config={plain} user_engine="right";
listener.name.both.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.both.scram-sha-512.sasl.jaas.config={scram}
ssl.keystore.type=PEM
ssl.keystore.location={both}
ssl.truststore.type=PEM
ssl.truststore.location={self.ca_file}
listener.name.tls.ssl.client.auth=required
"""
        )

    def settings(self, offset: int) -> KafkaSettings:
        return KafkaSettings(
            bootstrap=f"127.0.0.1:{self.port + offset}",
            replication=1,
            min_in_sync=1,
            connect_within_s=10.0,
            request_within_s=5.0,
        )

    @property
    def without(self) -> KafkaSettings:
        return self.settings(0)

    @property
    def with_password(self) -> KafkaSettings:
        return replace(self.settings(3), sasl_mechanism="PLAIN", sasl_username="engine", sasl_password="right")

    @property
    def with_tls(self) -> KafkaSettings:
        certificate, key = self.client
        settings = replace(self.settings(4), tls=True, tls_ca_file=self.ca_file)
        return replace(settings, tls_certificate=certificate, tls_key=key)

    @property
    def with_both(self) -> KafkaSettings:
        settings = replace(self.settings(5), tls=True, tls_ca_file=self.ca_file)
        return replace(settings, sasl_mechanism="SCRAM-SHA-512", sasl_username="engine", sasl_password="right")

    def _signed(self, name: x509.Name, authority: ec.EllipticCurvePrivateKey, who: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
        certificate, key_file = self.folder / f"{who}.pem", self.folder / f"{who}-key.pem"
        certificate.write_bytes(_certificate(subject, key, name, authority))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key_file


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    *,
    authority: bool = False,
) -> bytes:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    own_servers()
    with SecuredBroker() as broker:
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion("engine", ScramMechanism.SCRAM_SHA_512, "right")]
        )
        admin.close()
        yield broker


@pytest.mark.parametrize("how", ["with_password", "with_tls", "with_both"])
def test_events_go_through_each_kind_of_listener(broker: SecuredBroker, how: str) -> None:
    settings = replace(getattr(broker, how), prefix=f"{how}.")
    prepare_topics(settings, [TOPIC], None)
    log = KafkaLog(settings)
    log.append(TOPIC, [make_event("first", "a")])
    assert [delivery.event.id for delivery in log.read([TOPIC], Group("reader"), 10, 20.0)] == ["first"]
    log.close()


@pytest.mark.parametrize(
    ("how", "change", "sentence"),
    [
        ("with_password", {"sasl_password": "wrong"}, "refuse the credentials; set [kafka] sasl_username and"),
        (
            "with_password",
            {"sasl_mechanism": "SCRAM-SHA-256"},
            "PLAIN, not SCRAM-SHA-256; set [kafka] sasl_mechanism",
        ),
        (
            "with_password",
            {"sasl_mechanism": "", "sasl_username": ""},
            "asks for credentials by PLAIN; set [kafka]",
        ),
        ("with_both", {"sasl_password": "wrong"}, "refuse the credentials; set [kafka] sasl_username and"),
        ("with_both", {"tls": False, "tls_ca_file": None}, "set [kafka] tls to true"),
        ("with_both", {"tls_ca_file": None}, "set [kafka] tls_ca_file"),
        ("with_tls", {"tls_certificate": None, "tls_key": None}, "set [kafka] tls_certificate and tls_key"),
        ("with_tls", {"bootstrap": "localhost"}, "does not hold that name; set [kafka] bootstrap"),
        (
            "without",
            {"sasl_mechanism": "PLAIN", "sasl_username": "a", "sasl_password": "b"},
            "takes no credentials",
        ),
        ("without", {"tls": True}, "does not speak TLS; set [kafka] tls to false"),
    ],
)
def test_a_wrong_setting_is_named(
    broker: SecuredBroker, how: str, change: dict[str, object], sentence: str
) -> None:
    settings: KafkaSettings = getattr(broker, how)
    if change.get("bootstrap") == "localhost":
        change = {"bootstrap": settings.bootstrap.replace("127.0.0.1", "localhost")}
    wrong = replace(settings, connect_within_s=1.0, **change)  # type: ignore[arg-type]
    with pytest.raises(KafkaRefused) as raised:
        prepare_topics(wrong, [TOPIC], None)
    assert sentence in str(raised.value)
    assert wrong.bootstrap in str(raised.value)
