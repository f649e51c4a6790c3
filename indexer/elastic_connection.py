"""The only place that knows the Elasticsearch client: requests as plain data, answers as plain data, our errors.

Sentences name the setting to change. Elasticsearch's own reasons quote what was stored or asked, so of an error
only its status and its type (a fixed word of Elasticsearch's) are passed on.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import elastic_transport
import elasticsearch
import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from events import metrics
from events.errors import CallwardenError, RetryLater, StopConsumer
from indexer.elastic_settings import ElasticIndexSettings

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")
_PASSES_BY_ITSELF: Final = frozenset({408, 425, 429, 502, 503, 504})
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_LINES: Final = {"accept": "application/json", "content-type": "application/x-ndjson"}
_OLDEST_MAJOR: Final = 8
NO_PARAMETERS: Final[Mapping[str, str]] = {}
REQUIRE_ALIAS: Final[Mapping[str, str]] = {"require_alias": "true"}
"""Of a bulk request: a missing index is an error, where Elasticsearch would otherwise make one."""


class ElasticUnavailable(RetryLater):
    """Elasticsearch cannot take or give documents now; this passes by itself or by somebody's repair."""


class ElasticRefused(StopConsumer):
    """Elasticsearch or its settings are not what this program needs; somebody has to change a setting."""


class RequestFailed(CallwardenError):
    """Elasticsearch understood a request and did not do it; the caller knows what that means here."""

    def __init__(self, status: int, kind: str) -> None:
        super().__init__(f"Elasticsearch answered with status {status} ({kind}).")
        self.status = status
        self.kind = kind


class ElasticConnection:
    """Pooled connections to one cluster; safe to use from several threads."""

    def __init__(self, settings: ElasticIndexSettings, sleep: Callable[[float], None] = time.sleep) -> None:
        """Prepare the connections; nothing is sent yet.

        Raises
        ------
        ElasticRefused
            The CA file cannot be read.
        """
        self._settings = settings
        self._sleep = sleep
        for name in ("elastic_transport", "elasticsearch"):
            # The transport logs every request and, while a server is away, a traceback for every try.
            logging.getLogger(name).setLevel(logging.CRITICAL)
        secure: dict[str, Any] = {}
        if any(url.startswith("https:") for url in settings.urls):
            secure = {"verify_certs": settings.verify, "ssl_show_warn": False}
            if settings.ca_file is not None:
                try:
                    ssl.create_default_context(cafile=settings.ca_file)
                except (OSError, ValueError):
                    raise ElasticRefused(
                        "The file that [elasticsearch] ca_file names cannot be read or holds no certificate."
                    ) from None
                secure["ca_certs"] = str(settings.ca_file)
        try:
            self._client = elasticsearch.Elasticsearch(
                [_with_port(url) for url in settings.urls],
                api_key=settings.api_key_secret or None,
                request_timeout=settings.request_timeout_s,
                connections_per_node=settings.connections,
                max_retries=0,
                retry_on_timeout=False,
                http_compress=False,
                **secure,
            )
        except ValueError:
            raise ElasticRefused("[elasticsearch] url is no address, or api_key_secret is no API key.") from None

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        patience_s: float | None = None,
        timeout_s: float | None = None,
        parameters: Mapping[str, str] = NO_PARAMETERS,
    ) -> dict[str, Any]:
        """Send one request, again and again with growing pauses while Elasticsearch is away or busy.

        Parameters
        ----------
        parameters
            Of the query string.
        patience_s
            How long to try again; the settings' patience for writes where it is None.
        timeout_s
            How long one answer may take, where it is not the settings' time.

        Raises
        ------
        ElasticUnavailable
            It did not become available in time.
        ElasticRefused
            Address, key, certificate or server are wrong.
        RequestFailed
            Any other answer than success.
        """
        encoded = None if body is None else msgspec.json.encode(body)
        return self._patiently(patience_s, lambda: self._once(method, path, encoded, _JSON, parameters, timeout_s))

    def bulk(
        self,
        lines: Iterable[bytes],
        patience_s: float | None = None,
        parameters: Mapping[str, str] = NO_PARAMETERS,
    ) -> list[dict[str, Any]]:
        """Send a bulk request; return the outcome of each action, in order. Raises as `ask` does."""
        sent = list(lines)
        return self._patiently(patience_s, lambda: self._bulk_once(sent, parameters))

    def check_item(self, outcome: Mapping[str, Any]) -> None:
        """Raise what one outcome of a bulk request means, where it is not success."""
        status = outcome["status"]
        if status < 300:
            return
        kind = str(outcome.get("error", {}).get("type", "unknown"))
        if status in _PASSES_BY_ITSELF or status >= 500 or kind == "cluster_block_exception":
            raise ElasticUnavailable(
                f"Elasticsearch at {self._settings.shown_url} takes no writes for now (status {status}, {kind})."
            )
        raise RequestFailed(status, kind)

    def close(self) -> None:
        self._client.close()

    def bulk_all(
        self,
        lines: Sequence[bytes],
        parameters: Mapping[str, str] = NO_PARAMETERS,
        answers: tuple[int, ...] = (404,),
    ) -> list[dict[str, Any]]:
        """Send actions that may be done twice until each succeeded, or was told one of `answers`.

        Raises as `ask` does.
        """

        def once() -> list[dict[str, Any]]:
            outcomes = self._bulk_once(lines, parameters)
            for outcome in outcomes:
                if outcome["status"] not in answers:
                    self.check_item(outcome)
            return outcomes

        return self._patiently(None, once)

    def _bulk_once(self, lines: Iterable[bytes], parameters: Mapping[str, str]) -> list[dict[str, Any]]:
        answer = self._once("POST", "/_bulk", b"\n".join(lines) + b"\n", _LINES, parameters, None)
        return [next(iter(item.values())) for item in answer["items"]]

    def _patiently(self, patience_s: float | None, action: Callable[[], _T]) -> _T:
        patience_s = self._settings.patience_s if patience_s is None else patience_s
        retrying = Retrying(
            retry=retry_if_exception_type(ElasticUnavailable),
            stop=stop_after_delay(patience_s),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            sleep=self._sleep,
            before_sleep=lambda _: metrics.count(metrics.INDEX_RETRIES),
            reraise=True,
        )
        return retrying(action)

    def _once(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        parameters: Mapping[str, str],
        timeout_s: float | None,
    ) -> dict[str, Any]:
        client = self._client if timeout_s is None else self._client.options(request_timeout=timeout_s)
        try:
            answer = client.perform_request(method, path, params=parameters or None, headers=headers, body=body)
        except elasticsearch.ApiError as error:
            raise self._meaning(error) from None
        except elastic_transport.TransportError as error:
            raise self._transport_meaning(error) from None
        self._compare_clocks(answer.meta.headers.get("date"))
        return answer.body if isinstance(answer.body, dict) else {"": answer.body}

    def _meaning(self, error: elasticsearch.ApiError) -> CallwardenError:
        status, kind = error.meta.status, _kind(error.body)
        where = self._settings.shown_url
        if isinstance(error, elasticsearch.UnsupportedProductError):
            return ElasticRefused(f"What answers at {where} is not Elasticsearch; set [elasticsearch] url.")
        if kind == "media_type_header_exception":
            return self.too_old("7 or older")
        if status in _PASSES_BY_ITSELF:
            return ElasticUnavailable(f"Elasticsearch at {where} is busy or not ready (status {status}, {kind}).")
        if kind == "cluster_block_exception":
            return ElasticUnavailable(f"Elasticsearch at {where} takes no writes for now ({kind}).")
        if status == 401:
            return ElasticRefused(
                f"Elasticsearch at {where} does not know the API key; set [elasticsearch] api_key_secret."
            )
        if status == 403:
            return ElasticRefused(
                f"Elasticsearch at {where} does not let this API key do its work ({kind}); give the key rights on the "
                "indices of [elasticsearch] prefix, or set another api_key_secret."
            )
        return RequestFailed(status, kind)

    def _transport_meaning(self, error: elastic_transport.TransportError) -> CallwardenError:
        where = self._settings.shown_url
        if isinstance(error, elastic_transport.TlsError):
            return ElasticRefused(
                f"The certificate of Elasticsearch at {where} cannot be trusted; set [elasticsearch] ca_file."
            )
        if isinstance(error, elastic_transport.ConnectionTimeout):
            return ElasticUnavailable(
                f"Elasticsearch at {where} gave no answer within {self._settings.request_timeout_s:g} s."
            )
        if isinstance(error, elastic_transport.SerializationError):
            return ElasticRefused(f"What answers at {where} is not Elasticsearch; set [elasticsearch] url.")
        return ElasticUnavailable(f"No Elasticsearch answers at {where}; set [elasticsearch] url.")

    def too_old(self, version: str) -> ElasticRefused:
        return ElasticRefused(
            f"Elasticsearch at {self._settings.shown_url} has version {version}; {_OLDEST_MAJOR} or newer is "
            "needed, so upgrade it or set [elasticsearch] url."
        )

    def check_version(self, answer: Mapping[str, Any]) -> None:
        """Raise ElasticRefused when the answer to ``GET /`` is of a server too old for this program."""
        version = str(answer.get("version", {}).get("number", "unknown"))
        major = version.split(".", 1)[0]
        if not major.isdecimal() or int(major) < _OLDEST_MAJOR:
            raise self.too_old(version)

    def _compare_clocks(self, date: str | None) -> None:
        """Elasticsearch itself sends no Date; a proxy before it does, and the cloud's always."""
        if not date:
            return
        try:
            ahead_s = parsedate_to_datetime(date).timestamp() - time.time()
        except ValueError:
            return
        self.report_clock(ahead_s)

    def report_clock(self, ahead_s: float) -> None:
        metrics.gauge(metrics.INDEX_CLOCK_AHEAD, ahead_s)
        if abs(ahead_s) > self._settings.clock_tolerance_s and not self._clock_reported:
            self._clock_reported = True
            _LOG.warning(
                "The clock of Elasticsearch differs from this machine's by %.0f s; set both by NTP.", ahead_s
            )

    _clock_reported = False


def _with_port(url: str) -> str:
    """The client wants a port in every address."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    if host.rpartition(":")[2].isdecimal() and not host.endswith("]"):
        return url
    return f"{scheme}://{host}:{443 if scheme == 'https' else 80}{rest[len(host) :]}"


def _kind(body: object) -> str:
    """Return the type of an error: one of Elasticsearch's own words, never text of a document."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        causes = error.get("root_cause") or [{}]
        return str(error.get("type") or causes[0].get("type") or "unknown")
    return "unknown"


def part(name: str) -> str:
    """Return `name` as one part of a path."""
    return quote(name, safe="")
