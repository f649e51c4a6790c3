"""The pjsua2 endpoint: the laws of SIP endpoints, and what it alone does."""

from __future__ import annotations

import datetime
import gc
import ipaddress
import random
import shutil
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from events.audio import AudioBlock, GapCause
from events.lifecycle import CallEnded, EndReason, MetadataReceived
from events.metrics import SIP_REFUSED, SIP_REGISTERED, counted
from telephony import pjsua_endpoint
from telephony.caller import Caller, CallFailed, Encoding, Party, siprec_metadata
from telephony.pjsua_settings import PjsuaSettings
from telephony.sip_endpoint import SipSettings
from telephony.sockets import SocketRefused, SocketSettings
from tests.builders.capture_bench import CaptureBench, blocks_of, until
from tests.builders.capture_here import CaptureHere, SipVisitor, offer
from tests.contracts.sip_endpoint_laws import FAST, SipEndpointAloneLaws, SipEndpointLaws, ended
from tests.services.needed import pjsua2_module, services
from tests.services.servers import free_ports

pytestmark = services

REGISTRAR = Path(__file__).parent.parent / "journeys" / "sipp" / "registrar.xml"


@pytest.fixture(autouse=True, scope="module")
def _module() -> None:
    pjsua2_module()


class TestPjsuaEndpoint(SipEndpointLaws):
    ENDPOINT = "pjsua2"
    SOME_COUNTED = True


class TestPjsuaEndpointAlone(SipEndpointAloneLaws):
    ENDPOINT = "pjsua2"


def here_with(folder: Path, **settings: object) -> CaptureHere:
    """Return a capture of two legs with settings of PJSIP."""
    pjsua = PjsuaSettings(**settings)  # type: ignore[arg-type]
    return CaptureHere(folder, replace(FAST, pjsua=pjsua), legs=2, endpoint="pjsua2")


def heard(here: CaptureHere) -> bytes:
    return b"".join(one.payload for one in here.audio() if isinstance(one, AudioBlock))


def test_it_starts_and_stops_again_and_again_in_one_process(tmp_path: Path) -> None:
    for number in range(20):
        with here_with(tmp_path / str(number)) as here:
            visitor = SipVisitor(here.sip)
            assert visitor.invite(offer(4000)).status == 200
            if number % 2:
                assert visitor.ask("BYE").status == 200
            here.stop()
            gc.collect()
            assert ended(here, visitor.call_id) == [[EndReason.SHUT_DOWN], [EndReason.HUNG_UP]][number % 2]


def test_a_description_longer_than_pjsip_hands_over_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long_name = b"q" * 500
    line = b"m=video 5000 RTP/AVP 96 %sa %sb %sc\r\na=rtpmap:96 H264/90000\r\n" % (long_name, long_name, long_name)
    body = offer(4000) + 13 * line
    assert len(body) > 16384, "PJSUA2_MAX_SDP_BUF_LEN, as built."
    before = counted(SIP_REFUSED, cause="description_too_long")
    with here_with(tmp_path) as here:
        caller, visitor = Caller(here.sip, "tcp"), SipVisitor(here.sip)
        request = visitor.request("INVITE", body=body)
        request.headers[0] = ("via", request.get("via").replace("UDP", "TCP"))
        assert caller.transact(request).status == 488
        until(lambda: here.capture.status().free_legs == 2)
        assert here.capture.status().calls == 0
        assert SipVisitor(here.sip).invite(offer(4000)).status == 200, "Others are served."
    assert counted(SIP_REFUSED, cause="description_too_long") == before + 1
    sentence = "A call is refused because the session description is longer than PJSIP can hand over."
    assert sum(one.getMessage().startswith(sentence) for one in caplog.records) == 1


def test_a_large_invite_over_tcp(tmp_path: Path) -> None:
    parties = [("1", Party("Ann", "sip:agent@x")), ("2", Party("Bob", "sip:customer@x"))]
    padding = "<!-- " + "x" * 26_000 + " -->"
    xml = siprec_metadata("S1", parties).replace("<datamode>", padding + "<datamode>")
    with here_with(tmp_path) as here:
        call = Caller(here.sip, "tcp").call([Encoding.PCMU, Encoding.PCMA], metadata_xml=xml)
        assert b"a=label:1" in call.answer.body
        assert b"a=label:2" in call.answer.body
        call.hang_up()
        until(lambda: any(isinstance(one, MetadataReceived) and padding in one.xml for one in here.lifecycle()))


def test_nobody_makes_us_call(tmp_path: Path) -> None:
    """REFER, Replaces, MESSAGE, SUBSCRIBE: a recorder calls nobody and gives no call to another."""
    with here_with(tmp_path) as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.settimeout(0.5)
        visitor = SipVisitor(here.sip)
        visitor.invite(offer(4000))
        target = f"<sip:victim@127.0.0.1:{victim.getsockname()[1]}>"
        assert visitor.ask("REFER", refer_to=target).status >= 400
        other = SipVisitor(here.sip)
        replaces = f"{visitor.call_id};to-tag={visitor.to_tag};from-tag={visitor.tag}"
        assert other.ask("INVITE", body=offer(4000), replaces=replaces, require="replaces").status >= 400
        assert SipVisitor(here.sip).ask("SUBSCRIBE", event="presence").status >= 400
        with pytest.raises(TimeoutError):
            victim.recv(100)
        assert visitor.ask("BYE").status == 200


def certificates(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "recorder")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private


class TlsCaller(Caller):
    """Calls over TLS."""

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(target, "tcp")
        self._socket = context.wrap_socket(self._socket, server_hostname=target[0])
        self._via = self._via.replace("SIP/2.0/TCP", "SIP/2.0/TLS")
        self._contact = self._contact.replace("transport=tcp", "transport=tls")


def test_tls(tmp_path: Path) -> None:
    certificate, key = certificates(tmp_path)
    port = free_ports(1)
    sent = random.Random(7).randbytes(160 * 25)
    context = ssl.create_default_context(cafile=str(certificate))
    with here_with(tmp_path, tls_port=port, tls_certificate=str(certificate), tls_key=str(key)) as here:
        call = TlsCaller(("127.0.0.1", port), context).call()
        assert "transport=tls" in call.answer.get("contact").lower()
        call.send([sent])
        assert call.hang_up().status == 200
        until(lambda: any(isinstance(one, CallEnded) for one in here.lifecycle()))
        assert sent in heard(here)


def test_tls_peers_need_a_certificate_where_a_ca_is_named(tmp_path: Path) -> None:
    certificate, key = certificates(tmp_path)
    port = free_ports(1)
    files = {"tls_certificate": str(certificate), "tls_key": str(key), "tls_ca": str(certificate)}
    with here_with(tmp_path, tls_port=port, **files):
        context = ssl.create_default_context(cafile=str(certificate))
        with pytest.raises((OSError, CallFailed)):
            TlsCaller(("127.0.0.1", port), context).call()
        context.load_cert_chain(certificate, key)
        call = TlsCaller(("127.0.0.1", port), context).call()
        assert call.hang_up().status == 200


@pytest.mark.parametrize("password", ["secret of the recorder", "guessed"])
def test_registration_with_a_digest(tmp_path: Path, password: str, caplog: pytest.LogCaptureFixture) -> None:
    if shutil.which("sipp") is None:
        pytest.skip("sipp is missing: apt-get install sip-tester")
    caplog.set_level("INFO", "telephony")
    port = free_ports(1)
    registrar = subprocess.Popen(
        [*f"sipp -sf {REGISTRAR} -p {port} -i 127.0.0.1 -m 1 -nostdin -timeout 60s".split()],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    right = password.startswith("secret")
    settings = {"registrar": f"sip:127.0.0.1:{port}", "user": "recorder", "password_secret": password}
    with here_with(tmp_path, **settings) as here:
        until(lambda: any("egist" in one.getMessage() for one in caplog.records))
        assert counted(SIP_REGISTERED) == float(right)
        if right:
            assert registrar.wait(30) == 0, "It registers again before the time is over."
        assert SipVisitor(here.sip).invite(offer(4000)).status == 200, "Calls are taken either way."
    registrar.kill()
    registrar.wait()
    said = [one.getMessage() for one in caplog.records if one.name == "telephony.pjsua_endpoint"]
    assert said[0] == (
        "Registered at the registrar for 6 s."
        if right
        else "The registration failed with status 403; see [capture.pjsua] registrar, user and password_secret."
    )
    assert not any(password in one.getMessage() for one in caplog.records)


def test_a_killed_process_leaves_calls_that_are_recorded_on(tmp_path: Path) -> None:
    """PJSIP cannot take a dialog over; the audio goes on, and the end is told."""
    draw = random.Random(5)
    first, second = draw.randbytes(160 * 50), draw.randbytes(160 * 50)
    with CaptureBench(tmp_path, endpoint="pjsua2") as bench:
        call = Caller(bench.sip).call()
        call.send([first])
        until(bench.written_down)
        bench.kill()
        bench.start()
        assert "1 calls go on without signalling" in bench.stderr()
        call.send([second])
        fresh = Caller(bench.sip).call()
        fresh.hang_up()
        assert call.hang_up().status == 481
        until(bench.written_down)
        assert bench.stop() == 0
        (started, *_) = bench.calls()
        blocks = blocks_of(bench.audio(started), 0)
        whole = b"".join(block.payload or b"\0" * block.samples for block in blocks)
        assert second in whole
        lost = sum(gap.samples for block in blocks for gap in block.gaps if gap.cause is GapCause.DOWN)
        assert lost < 8000, "What came before the kill and was acknowledged is there."
        (reason,) = [one.reason for one in bench.lifecycle(started) if isinstance(one, CallEnded)]
        assert reason is EndReason.SHUT_DOWN


def test_what_cannot_be_opened_is_said_in_one_sentence(tmp_path: Path) -> None:
    certificate, _ = certificates(tmp_path)
    with here_with(tmp_path / "one") as here:
        sentence = r"^A second pjsua2 endpoint cannot run in one process\.$"
        with pytest.raises(SocketRefused, match=sentence), here_with(tmp_path / "two"):
            pass
        assert SipVisitor(here.sip).ask("OPTIONS").status == 200
    missing = {"tls_port": 5061, "tls_certificate": str(certificate), "tls_key": "/nowhere/key.pem"}
    sentence = r"^\[capture\.pjsua\] tls_key names a file that cannot be read\.$"
    with pytest.raises(SocketRefused, match=sentence), here_with(tmp_path / "three", **missing):
        pass
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        missing |= {"tls_port": held.getsockname()[1], "tls_key": str(tmp_path / "key.pem")}
        sentence = r"^SIP over TLS cannot be opened on 127\.0\.0\.1:\d+: .*\.$"
        with pytest.raises(SocketRefused, match=sentence), here_with(tmp_path / "four", **missing):
            pass
    with here_with(tmp_path / "five") as here:
        assert SipVisitor(here.sip).ask("OPTIONS").status == 200


def test_without_the_module_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pjsua_endpoint.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SocketRefused) as refused:
        pjsua_endpoint.factory(PjsuaSettings(), SipSettings(), SocketSettings())
    assert str(refused.value) == (
        'The SIP endpoint pjsua2 is not installed; `make pjsua2` builds it, or set [engine] endpoint = "built-in".'
    )
