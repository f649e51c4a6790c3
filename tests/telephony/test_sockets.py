"""Sockets: opened together or not at all, handed on, and one sentence when they cannot be had."""

from __future__ import annotations

import logging
import os
import resource
import socket
import subprocess
import sys

import pytest

from telephony.sockets import CaptureSockets, SocketRefused, SocketSettings, open_sockets

ANY = SocketSettings("127.0.0.1", 0, rtp_first_port=0, legs=5)


def test_ports_chosen_by_the_system_are_usable() -> None:
    sockets = open_sockets(ANY)
    host, port = sockets.sip_address
    assert host == "127.0.0.1"
    assert sockets.sip_tcp.getsockname()[1] == port > 0
    assert len(set(sockets.rtp_ports)) == 5
    assert all(one % 2 == 0 for one in sockets.rtp_ports)
    sockets.close()


@pytest.mark.parametrize(("kind", "what"), [(socket.SOCK_DGRAM, "UDP"), (socket.SOCK_STREAM, "TCP")])
def test_a_port_in_use_is_named(kind: socket.SocketKind, what: str) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(SocketRefused) as error:
            open_sockets(SocketSettings("127.0.0.1", port, rtp_first_port=0, legs=1))
    expected = f"SIP over {what} cannot be opened on 127.0.0.1:{port}: Address already in use."
    assert str(error.value) == expected


def test_a_media_port_in_use_closes_what_was_opened() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        first = (other.getsockname()[1] - 4) // 2 * 2
        other.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", first + 4))
            with pytest.raises(SocketRefused, match=rf"RTP cannot be opened on 127.0.0.1:{first + 4}"):
                open_sockets(SocketSettings("127.0.0.1", 0, rtp_first_port=first, legs=4))
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_process_inherits_them() -> None:
    sockets = open_sockets(ANY)
    code = (
        "import os; from telephony.sockets import CaptureSockets;"
        "one = CaptureSockets.from_environment(os.environ['SOCKETS']); print(one.sip_address, one.rtp_ports)"
    )
    environment = os.environ | {"SOCKETS": sockets.to_environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, "-c", code], pass_fds=sockets.fds(), env=environment, capture_output=True, check=True
    )
    assert child.stdout.decode().strip() == f"{sockets.sip_address} {sockets.rtp_ports}"
    sockets.close()


@pytest.mark.parametrize("text", ["", "{}", '{"sip_udp": 900, "sip_tcp": 901, "rtp": [902]}'])
def test_what_is_not_inherited_is_said(text: str) -> None:
    with pytest.raises(SocketRefused, match="not open in this process"):
        CaptureSockets.from_environment(text)


def test_too_few_files_are_said() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300));"
        "from telephony.sockets import *; open_sockets(SocketSettings('127.0.0.1', 0, rtp_first_port=0, legs=200))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert child.returncode == 1
    assert b"Capture needs 458 open files, but this process may open 300 at most" in child.stderr
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)


def test_a_capped_receive_buffer_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        open_sockets(
            SocketSettings("127.0.0.1", 0, rtp_first_port=0, legs=1, receive_buffer_bytes=1 << 30)
        ).close()
    assert "net.core.rmem_max" in caplog.text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"sip_port": 70000}, "lie between 0 and 65535"),
        ({"rtp_first_port": 20001}, "is even"),
        ({"rtp_first_port": 65000, "legs": 400}, "do not fit below 65536"),
        ({"receive_buffer_bytes": 1}, "at least 65536"),
    ],
)
def test_settings_are_checked(fields: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        SocketSettings(**fields)  # type: ignore[arg-type]
