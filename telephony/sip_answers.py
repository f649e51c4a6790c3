"""Pieces of answers: what we can do, session timers, and checks that several requests share."""

from __future__ import annotations

from typing import Final

from telephony.sip_dialog import Dialog
from telephony.sip_message import NameAddress, SipMessage, SipRefused

ALLOW: Final = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE"
SUPPORTED: Final = ("siprec", "timer", "record-aware")
_MIN_SESSION_S: Final = 90


def check_extensions(request: SipMessage) -> None:
    """Raises SipRefused (420) when the request requires what we cannot do."""
    if request.method == "CANCEL":
        return  # RFC 3261, 9.1: carries no Require
    unknown = [tag for tag in request.tokens("require") if tag not in SUPPORTED]
    if unknown:
        raise SipRefused(
            "extension",
            "A SIP request requires an extension that is not supported.",
            420,
            (("unsupported", ", ".join(unknown)),),
        )


def cannot_store() -> SipRefused:
    """Return the refusal of a call whose state found no room on the disk."""
    return SipRefused(
        "state", "A call is refused because capture's state cannot be stored.", 503, (("retry-after", "10"),)
    )


def capabilities() -> list[tuple[str, str]]:
    """Return the headers of an answer to OPTIONS."""
    return [
        ("allow", ALLOW),
        ("accept", "application/sdp, application/rs-metadata+xml, multipart/mixed"),
        ("supported", ", ".join(SUPPORTED)),
    ]


def contact_of(request: SipMessage) -> str:
    """Return the URI of the Contact header. Raises SipRefused."""
    values = request.all("contact")
    if not values:
        raise SipRefused("no_contact", "An INVITE has no Contact header.")
    try:
        return NameAddress.parse(values[0]).uri
    except ValueError as error:
        raise SipRefused("bad_header", f"A SIP request has a malformed Contact header: {error}") from None


def session_timer(request: SipMessage) -> int:
    """Return the asked session interval (RFC 4028), 0 for none. Raises SipRefused (422 when it is too short)."""
    text = request.get("session-expires").partition(";")[0].strip()
    if not text or "timer" not in (*request.tokens("supported"), *request.tokens("require")):
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise SipRefused("bad_header", "A SIP request has a Session-Expires header that is no number.")
    if int(text) < _MIN_SESSION_S:
        raise SipRefused(
            "short_session",
            "A SIP request asks for a session interval below 90 seconds.",
            422,
            (("min-se", str(_MIN_SESSION_S)),),
        )
    return int(text)


def session_headers(dialog: Dialog, request: SipMessage) -> list[tuple[str, str]]:
    """Return the headers of a 200 to INVITE or UPDATE."""
    headers = [("allow", ALLOW), ("supported", ", ".join(SUPPORTED))]
    if dialog.session_expires_s and request.get("session-expires"):
        # The caller refreshes: a recorder has nothing of its own to say.
        headers += [("session-expires", f"{dialog.session_expires_s};refresher=uac"), ("require", "timer")]
    return headers
