"""PJSIP's log on its way into ours: nothing personal, never too much. Needs no PJSIP."""

from __future__ import annotations

import pytest

from telephony.pjsua_log import PjsipLog
from telephony.pjsua_settings import PjsuaSettings


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "pjsua_acc.c sip:alice@example.com;transport=tcp registration failed",
            "pjsua_acc.c ... registration failed",
        ),
        ('inv.c from "Alice Smith" <sips:+4930123456@10.0.0.1:5061>', "inv.c from ... <...>"),
        ("call to +4930123456 and tel:0301234", "call to ... and ..."),
        ("auth for bob@example.com failed", "auth for ... failed"),
        (
            "UDP 127.0.0.1:5060 dropped 228 bytes:\nINVITE sip:alice@x SIP/2.0",
            "UDP 127.0.0.1:5060 dropped 228 bytes:",
        ),
        ("  tsx timeout  \n", "tsx timeout"),
        ("x" * 500, "x" * 200),
    ],
)
def test_nothing_personal(line: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "telephony.pjsip")
    PjsipLog(lambda: 0.0).line(2, line)
    ((_, _, text),) = caplog.record_tuples
    assert text == said


def test_never_too_much(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = PjsipLog(lambda: now)
    for _ in range(1000):
        log.line(1, "again")
    assert len(caplog.records) == 20
    now = 10.0
    log.line(1, "once more")
    assert [one.getMessage() for one in caplog.records[20:]] == [
        "PJSIP had 980 more lines to say in that time.",
        "once more",
    ]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tls_port": 5061}, "SIP over TLS needs `tls_certificate` and `tls_key`."),
        ({"registrar": "pbx.example.com"}, "The registrar is a SIP URI: it begins with sip: or sips:."),
        ({"registrar": "sip:pbx.example.com"}, "Registration needs `user`."),
        ({"session_s": 30}, "`keep_alive_s` is not negative, and a session timer is at least 90 seconds."),
        ({"log_level": 4}, "PJSIP's log level lies between 0 and 3."),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as refused:
        PjsuaSettings(**settings)  # type: ignore[arg-type]
    assert str(refused.value) == sentence
