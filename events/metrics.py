"""The one list of metric names, with kind and meaning. No label ever holds personal data.

Exposed by prometheus_client; with PROMETHEUS_MULTIPROC_DIR set, all processes of one engine add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client import Counter, Gauge, Histogram


class MetricKind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


_DELAY_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3.0, 6.0, 12.0, 30.0, 120.0)


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[str, ...] = ()


_C, _G, _H = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

SIP_REFUSED: Final = Metric("sip_refused", _C, "SIP messages refused or dropped, by cause", ("cause",))
SIP_REGISTERED: Final = Metric("sip_registered", _G, "1 while the pjsua2 endpoint is registered at its registrar")
CALLS_STARTED: Final = Metric("calls_started", _C, "Calls accepted, by source", ("source",))
CALLS_ENDED: Final = Metric("calls_ended", _C, "Calls ended, by reason", ("reason",))
CALLS_UP: Final = Metric("calls_up", _G, "Calls in progress")
RTP_PACKETS: Final = Metric("rtp_packets", _C, "RTP packets placed on a timeline")
RTP_LOST: Final = Metric("rtp_lost", _C, "RTP packets that never came")
RTP_LATE: Final = Metric("rtp_late", _C, "RTP packets that came after their block was sealed")
RTP_DUPLICATE: Final = Metric("rtp_duplicate", _C, "RTP packets that came twice")
RTP_REORDERED: Final = Metric("rtp_reordered", _C, "RTP packets out of order, placed in time")
RTP_REFUSED: Final = Metric(
    "rtp_refused", _C, "Datagrams on media ports that were no RTP of the call, by cause", ("cause",)
)
AUDIO_BLOCKS: Final = Metric("audio_blocks", _C, "Audio blocks acknowledged by the event log")
CAPTURE_BACKLOG: Final = Metric("capture_backlog", _G, "Audio blocks that wait for the event log")
SPILLED: Final = Metric("spilled_events", _C, "Events kept on the local disk because the event log was away")
SPILL_MODE: Final = Metric("spill_mode", _G, "0: events go straight into the log, 1: onto the disk, 2: draining")
SPILL_RECORDS: Final = Metric("spill_records", _G, "Events on the local disk that the event log has not got")
SPILL_BYTES: Final = Metric("spill_bytes", _G, "Disk space that the spill takes")
SPILL_SHARE: Final = Metric("spill_share", _G, "Disk space that the spill takes, of that allowed")
SPILL_OLDEST: Final = Metric("spill_oldest_seconds", _G, "Age of the oldest event on the local disk")
IMPORT_REFUSED: Final = Metric("import_refused", _C, "Recorded files refused, by cause", ("cause",))
IMPORT_SPEAKERS: Final = Metric(
    "import_speakers", _C, "Mono recordings listened to for two speakers, by outcome", ("outcome",)
)
EVENTS_APPENDED: Final = Metric("events_appended", _C, "Events made durable, by topic", ("topic",))
LOG_UNDECIDED: Final = Metric("log_undecided", _G, "Events sent to Kafka and not acknowledged in time")
FOREIGN_RECORDS: Final = Metric(
    "foreign_records", _C, "Records in our topics that callwarden did not write, passed over, by topic", ("topic",)
)
KAFKA_CLOCK_OFFSET: Final = Metric(
    "kafka_clock_offset_seconds", _G, "How far this machine's clock is ahead of the Kafka brokers', at the start"
)
EVENTS_HANDLED: Final = Metric("events_handled", _C, "Events handled, by stage", ("stage",))
DEAD_LETTERS: Final = Metric("dead_letters", _C, "Records put into a dead-letter topic, by stage", ("stage",))
RETRIES: Final = Metric("retries", _C, "Records handed to a handler again, by stage", ("stage",))
STAGE_LAG: Final = Metric("stage_lag", _G, "Events behind the committed positions, by stage", ("stage",))
STAGE_RESTARTS: Final = Metric("stage_restarts", _C, "Processes restarted by the supervisor, by stage", ("stage",))
SEGMENTS: Final = Metric("segments", _C, "Final transcript segments")
SECOND_PASSES: Final = Metric("second_passes", _C, "Segments searched or rescored a second time")
SECOND_OPINIONS: Final = Metric(
    "second_opinions", _C, "Segments heard again by a second recogniser, by outcome", ("outcome",)
)
RECOGNITION_RESTARTS: Final = Metric(
    "recognition_restarts", _C, "Legs whose recognition was begun anew after an internal error"
)
SEGMENT_DELAY: Final = Metric("segment_delay_seconds", _H, "End of speech to final segment in the log")
PII_SPANS: Final = Metric("pii_spans", _C, "Personal data hidden, by kind", ("kind",))
FINDINGS: Final = Metric("findings", _C, "Findings, by rule", ("rule",))
ALERTS_RAISED: Final = Metric("alerts_raised", _C, "Alerts raised, by severity", ("severity",))
ALERT_DELIVERIES: Final = Metric(
    "alert_deliveries", _C, "Alert deliveries, by channel and outcome", ("channel", "outcome")
)
RECORDINGS_KEPT: Final = Metric("recordings_kept", _C, "Bleeped recordings written")
DOCUMENTS_INDEXED: Final = Metric("documents_indexed", _C, "Call documents put into the index")
DOCUMENTS_REFUSED: Final = Metric("documents_refused", _C, "Call documents that the index can never take")
INDEX_RETRIES: Final = Metric("index_retries", _C, "Requests to the index server that were sent again")
INDEX_CLOCK_AHEAD: Final = Metric(
    "index_clock_ahead_seconds", _G, "How far the index server's clock is ahead of ours"
)
INDEX_OUTDATED: Final = Metric(
    "index_outdated", _G, "Months of the index that wait for `callwarden index rebuild`"
)
AUDIT_ENTRIES: Final = Metric("audit_entries", _C, "Audit entries made durable, by action", ("action",))
AUDIT_REFUSED: Final = Metric("audit_refused", _C, "Accesses refused because the audit log could not be written")
LOGINS_REFUSED: Final = Metric("logins_refused", _C, "Log-ins refused, by cause", ("cause",))
REQUESTS_REFUSED: Final = Metric("requests_refused", _C, "Web requests refused, by cause", ("cause",))

METRICS: Final[tuple[Metric, ...]] = tuple(
    value for value in dict(globals()).values() if isinstance(value, Metric)
)

_made: dict[str, Counter | Gauge | Histogram] = {}


def _instrument(metric: Metric) -> Counter | Gauge | Histogram:
    made = _made.get(metric.name)
    if made is None:
        name = f"callwarden_{metric.name}"
        if metric.kind is MetricKind.COUNTER:
            made = Counter(name, metric.meaning, metric.labels)
        elif metric.kind is MetricKind.GAUGE:
            made = Gauge(name, metric.meaning, metric.labels, multiprocess_mode="livesum")
        else:
            made = Histogram(name, metric.meaning, metric.labels, buckets=_DELAY_BUCKETS)
        _made[metric.name] = made
    return made


def count(metric: Metric, amount: float = 1, **labels: str) -> None:
    """Add to a counter."""
    instrument = _instrument(metric)
    assert isinstance(instrument, Counter)
    (instrument.labels(**labels) if labels else instrument).inc(amount)


def gauge(metric: Metric, value: float, **labels: str) -> None:
    """Set a gauge."""
    instrument = _instrument(metric)
    assert isinstance(instrument, Gauge)
    (instrument.labels(**labels) if labels else instrument).set(value)


def observe(metric: Metric, value: float, **labels: str) -> None:
    """Note one duration or size in a histogram."""
    instrument = _instrument(metric)
    assert isinstance(instrument, Histogram)
    (instrument.labels(**labels) if labels else instrument).observe(value)


def counted(metric: Metric, **labels: str) -> float:
    """Return this process's count so far; for tests and health pages."""
    instrument = _instrument(metric)
    assert not isinstance(instrument, Histogram)
    child = instrument.labels(**labels) if labels else instrument
    return float(child._value.get())
