"""Where alerts go besides the console: the webhook.

A message names call, rule, severity and time, and where to look. What was said is never in it.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC
from typing import Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from events.clock import Clock, SystemClock
from events.finding import Alert

SIGNATURE_HEADER: Final = "X-Callwarden-Signature"
ALERT_HEADER: Final = "X-Callwarden-Alert"
_LONGEST_RETRY_AFTER_S: Final = 600.0


class DeliveryFailed(Exception):
    """One attempt failed. The text is a whole sentence without what the receiver said."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        """The receiver asks not to come back earlier."""


class Channel(Protocol):
    name: str

    @property
    def longest_attempt_s(self) -> float:
        """No `send` takes longer."""
        ...

    def send(self, alert: Alert) -> None:
        """Deliver once. May be called from several threads. Raises DeliveryFailed."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    url: str = ""
    """Empty: no webhook."""
    secret: str = ""
    """Signs every message, see `signature`."""
    timeout_s: float = 10.0
    """For the whole of one attempt."""

    def __post_init__(self) -> None:
        if not self.url:
            return
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("A webhook's url begins with https:// or http:// and names a host.")
        if len(self.secret) < 16:
            raise ValueError("A webhook's secret has at least 16 characters.")
        if self.timeout_s <= 0:
            raise ValueError("A webhook's timeout_s is more than 0.")


def signature(secret: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature header's value: ``t=<unix seconds>,v1=<hex>``.

    The hex is HMAC-SHA256 (RFC 2104) under `secret` over ``<unix seconds>.<body>``. A receiver computes it over the
    body as it came, compares in constant time, and refuses timestamps that are minutes old.
    """
    signed = str(timestamp_s).encode() + b"." + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp_s},v1={digest}"


def message(alert: Alert, console_url: str) -> bytes:
    """Return the body of the request, JSON."""
    link = f"{console_url.rstrip('/')}/calls/{alert.call}" if console_url else ""
    return msgspec.json.encode(
        {
            "type": "callwarden.alert",
            "alert": alert.id,
            "call": alert.call,
            "rule": alert.rule,
            "title": alert.title,
            "severity": alert.severity,
            "call_time_ms": alert.at_ms,
            "raised_at_ms": alert.raised_at_ms,
            "link": link,
        }
    )


class Webhook:
    """POSTs an alert; any answer of the 200s takes it. Redirects are not followed: the secret is for one receiver.

    A receiver may get an alert twice (its answer was lost); the header X-Callwarden-Alert tells that it is the same.
    """

    name = "webhook"

    def __init__(self, settings: WebhookSettings, console_url: str = "", clock: Clock | None = None) -> None:
        self._settings = settings
        self._console_url = console_url
        self._clock = clock or SystemClock()

    @property
    def longest_attempt_s(self) -> float:
        return self._settings.timeout_s

    def send(self, alert: Alert) -> None:
        body = message(alert, self._console_url)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "callwarden",
            ALERT_HEADER: alert.id,
            SIGNATURE_HEADER: signature(self._settings.secret, self._clock.now_ms() // 1000, body),
        }
        try:
            status, retry_after = asyncio.run(self._post(body, headers))
        except (TimeoutError, httpx.TimeoutException):
            raise DeliveryFailed(f"The receiver did not answer within {self._settings.timeout_s:g} s.") from None
        except httpx.ConnectError:
            raise DeliveryFailed("The receiver could not be connected to.") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError):
            raise DeliveryFailed("The receiver broke the connection.") from None
        if not 200 <= status < 300:
            raise DeliveryFailed(f"The receiver answered with status {status}.", self._retry_after_s(retry_after))

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        # asyncio for its deadline: httpx's own timeouts begin anew with every byte that a slow receiver sends. The
        # answer's body is left unread, so that one without an end does not hold us.
        async with (
            asyncio.timeout(self._settings.timeout_s),
            httpx.AsyncClient(timeout=None) as client,  # noqa: S113
            client.stream("POST", self._settings.url, content=body, headers=headers) as answer,
        ):
            return answer.status_code, answer.headers.get("Retry-After", "")

    def close(self) -> None:
        """Nothing is kept open between deliveries."""

    def _retry_after_s(self, header: str) -> float:
        """Return the wait that a Retry-After header (RFC 9110, 10.2.3) asks for, within bounds."""
        if header.isascii() and header.isdigit():
            wait_s = float(header[:9])
        else:
            try:
                when = email.utils.parsedate_to_datetime(header)
            except ValueError:
                return 0.0
            if when.tzinfo is None:
                when = when.replace(tzinfo=UTC)
            wait_s = when.timestamp() - self._clock.now_ms() / 1000
        return min(max(wait_s, 0.0), _LONGEST_RETRY_AFTER_S)
