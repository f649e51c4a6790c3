"""What machines ask: is it up, and how is it doing. No log-in, nothing personal."""

from __future__ import annotations

import hmac
import ipaddress
import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from starlette.responses import JSONResponse, Response

from console.web.access import PageRefused, Visit


def healthz(visit: Visit) -> Response:
    health = visit.services.health()
    stages = {stage.name: "running" if stage.running else "down" for stage in health.stages}
    return JSONResponse({"status": "ok" if health.ok else "degraded", "stages": stages}, 200 if health.ok else 503)


def metrics(visit: Visit) -> Response:
    """All processes' metrics, added up where PROMETHEUS_MULTIPROC_DIR is set."""
    token = visit.services.settings.metrics_token
    if token:
        given = visit.request.headers.get("authorization", "").removeprefix("Bearer ")
        allowed = hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
    else:
        allowed = _is_loopback(visit.address)
    if not allowed:
        raise PageRefused(403, "Metrics are not shown to this address.", "metrics")
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
