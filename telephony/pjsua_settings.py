"""Settings of the pjsua2 endpoint. Apart from it, so that nobody needs the module pjsua2 to read them."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CALLS = 1024
"""As built by tests/services/pjsua2/build-pjsua2.sh."""


@dataclass(frozen=True, slots=True)
class PjsuaSettings:
    """What PJSIP can do beyond the built-in endpoint. Addresses and ports of SIP and RTP are those of the sockets."""

    tls_port: int = 0
    """SIP over TLS is served on this port; 0 for not at all."""
    tls_certificate: str = ""
    """PEM file, the chain included."""
    tls_key: str = ""
    tls_ca: str = ""
    """PEM file; with it only peers with a certificate from there may connect, and a registrar must have one."""
    registrar: str = ""
    """SIP URI such as ``sip:pbx.example.com``, with ``;transport=tcp`` or ``tls`` where needed; empty: nowhere."""
    user: str = ""
    """Who registers: the user part of our address there, and the user name of the digest."""
    password_secret: str = ""
    realm: str = "*"
    """Realm of the digest; ``*`` for whichever the registrar names."""
    register_every_s: int = 300
    register_again_after_s: int = 30
    """After a registration that failed."""
    keep_alive_s: int = 15
    """How often a packet keeps the way to the registrar open through NAT (UDP)."""
    session_s: int = 1800
    """Session timer (RFC 4028) that we ask for where a caller supports it without naming one."""
    log_level: int = 2
    """PJSIP's own log: 1 errors, 2 warnings, 3 what goes on. Addresses and numbers are blanked whatever the level."""

    def __post_init__(self) -> None:
        if not 0 <= self.tls_port <= 65535:
            raise ValueError("The TLS port lies between 0 and 65535.")
        if self.tls_port and not (self.tls_certificate and self.tls_key):
            raise ValueError("SIP over TLS needs `tls_certificate` and `tls_key`.")
        if self.registrar and not self.registrar.startswith(("sip:", "sips:")):
            raise ValueError("The registrar is a SIP URI: it begins with sip: or sips:.")
        if self.registrar and not self.user:
            raise ValueError("Registration needs `user`.")
        if self.register_every_s < 20 or self.register_again_after_s < 1:
            raise ValueError("A registration lasts at least 20 seconds, and is tried again after at least 1.")
        if self.keep_alive_s < 0 or self.session_s < 90:
            raise ValueError("`keep_alive_s` is not negative, and a session timer is at least 90 seconds.")
        if not 0 <= self.log_level <= 3:
            raise ValueError("PJSIP's log level lies between 0 and 3.")
