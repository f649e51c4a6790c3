"""What machines ask: is it up, and how is it doing. No log-in, nothing personal."""

from __future__ import annotations

import hmac
import ipaddress
import os
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from starlette.responses import JSONResponse, Response

from console.web.access import PageRefused, Visit


def healthz(visit: Visit) -> Response:
    """The state of every stage for everybody; reasons and addresses only for who may see metrics too."""
    health = visit.services.health()
    told: dict[str, Any] = {
        "status": "ok" if health.ok else "degraded",
        "stages": {stage.name: "running" if stage.running else "down" for stage in health.stages},
        "parts": {part.name.lower(): "reachable" if part.reachable else "away" for part in health.parts},
    }
    if _may_see(visit):
        notes = [(stage.name, stage.note) for stage in health.stages]
        notes += [(part.name.lower(), part.note) for part in health.parts]
        told["notes"] = {name: note for name, note in notes if note}
        told["lag"] = {stage.name: stage.lag for stage in health.stages if stage.lag is not None}
        told["age_s"] = {stage.name: round(stage.age_s, 1) for stage in health.stages if stage.age_s is not None}
        told["facts"] = dict(health.facts)
        told["warnings"] = list(health.warnings)
    return JSONResponse(told, 200 if health.ok else 503)


def metrics(visit: Visit) -> Response:
    """All processes' metrics, added up where PROMETHEUS_MULTIPROC_DIR is set."""
    if not _may_see(visit):
        raise PageRefused(403, "Metrics are not shown to this address.", "metrics")
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _may_see(visit: Visit) -> bool:
    token = visit.services.settings.metrics_token
    if token:
        given = visit.request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
    return _is_loopback(visit.address)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
