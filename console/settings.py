"""All settings of an engine: defaults, then a TOML file, then the environment.

Each section is the frozen settings object that lives beside the class it is for; this module only gathers them.
Field ``page_size`` of section ``web`` is set in the file as ``page_size = 50`` under ``[web]``, and in the
environment as ``CALLWARDEN_WEB__PAGE_SIZE=50``; field ``advertised_host`` of the table ``[capture.sip]`` as
``CALLWARDEN_CAPTURE__SIP__ADVERTISED_HOST``.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, get_type_hints

import msgspec
import tomli_w

from compliance.alerts.channels import WebhookSettings
from compliance.alerts.dispatcher import DispatcherSettings
from compliance.audit.audit_log import AuditSettings
from compliance.recordings.archive import ArchiveSettings
from compliance.recordings.bleep import BleepSettings
from compliance.redaction.settings import RedactionSettings
from compliance.rules.judge import RulesSettings
from console.speaker_turns_sink import SpeakersSettings
from console.supervisor import SupervisorSettings
from console.users import UserSettings
from console.web.services import WebSettings
from console.web.sessions import SessionSettings
from events.consumer import ConsumerSettings
from events.errors import CallwardenError
from events.kafka_settings import KafkaSettings
from events.spilling_log import SpillSettings
from events.sqlite_log import SqliteLogSettings
from indexer.elastic_settings import ElasticIndexSettings
from indexer.sqlite_index import SqliteIndexSettings
from indexer.worker import IndexerSettings
from recognizer.beam_search import BeamSearchSettings
from recognizer.endpoint import EndpointSettings
from recognizer.partial_words import PartialSettings
from recognizer.rescoring import RescoringSettings
from recognizer.second_pass import SecondPassSettings
from recognizer.second_recogniser import SecondRecogniserSettings
from recognizer.vocabulary_settings import VocabularySettings
from recognizer.worker import RecogniserWorkerSettings
from telephony.capture import CaptureSettings
from telephony.recorded_source import RecordedSourceSettings
from telephony.sockets import SocketSettings

ENVIRONMENT_PREFIX: Final = "CALLWARDEN_"
_SECRET_MARKS: Final = ("secret", "password", "token", "master_key")


class SettingsRefused(CallwardenError):
    """A setting is unknown, of the wrong type, or does not fit the others."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What concerns the engine as a whole."""

    http_host: str = "127.0.0.1"
    http_port: int = 8080
    console_url: str = ""
    """Where people reach the console; alerts link to it."""
    recogniser_workers: int = 1
    """Recogniser processes; each takes a share of the calls. One core a worker is a good start."""
    model: str = ""
    """The model pack to recognise with; empty: what `callwarden models use` chose, else the shipped one."""
    log_level: str = "INFO"
    event_log: Literal["sqlite", "kafka"] = "sqlite"
    """Where stages leave events for each other; for kafka see the section [kafka]."""
    index: Literal["sqlite", "elasticsearch"] = "sqlite"
    """Where calls are searched; for elasticsearch see the section [elasticsearch]."""
    endpoint: Literal["built-in", "pjsua2"] = "built-in"
    """Which SIP stack answers calls; for pjsua2 see the section [capture.pjsua]."""

    def __post_init__(self) -> None:
        if self.recogniser_workers < 1:
            raise ValueError("recogniser_workers must be at least 1.")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ValueError("log_level is one of DEBUG, INFO, WARNING, ERROR.")


@dataclass(frozen=True, slots=True)
class Settings:
    """One field a section."""

    engine: EngineSettings = field(default_factory=EngineSettings)
    supervisor: SupervisorSettings = field(default_factory=SupervisorSettings)
    log: SqliteLogSettings = field(default_factory=SqliteLogSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    spill: SpillSettings = field(default_factory=SpillSettings)
    consumer: ConsumerSettings = field(default_factory=ConsumerSettings)
    sockets: SocketSettings = field(default_factory=SocketSettings)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    recorded: RecordedSourceSettings = field(default_factory=RecordedSourceSettings)
    speakers: SpeakersSettings = field(default_factory=SpeakersSettings)
    recogniser: RecogniserWorkerSettings = field(default_factory=RecogniserWorkerSettings)
    search: BeamSearchSettings = field(default_factory=BeamSearchSettings)
    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    partials: PartialSettings = field(default_factory=PartialSettings)
    second_pass: SecondPassSettings = field(default_factory=SecondPassSettings)
    rescoring: RescoringSettings = field(default_factory=RescoringSettings)
    second_recogniser: SecondRecogniserSettings = field(default_factory=SecondRecogniserSettings)
    vocabulary: VocabularySettings = field(default_factory=VocabularySettings)
    redaction: RedactionSettings = field(default_factory=RedactionSettings)
    rules: RulesSettings = field(default_factory=RulesSettings)
    webhook: WebhookSettings = field(default_factory=WebhookSettings)
    delivery: DispatcherSettings = field(default_factory=DispatcherSettings)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)
    bleep: BleepSettings = field(default_factory=BleepSettings)
    indexer: IndexerSettings = field(default_factory=IndexerSettings)
    index: SqliteIndexSettings = field(default_factory=SqliteIndexSettings)
    elasticsearch: ElasticIndexSettings = field(default_factory=ElasticIndexSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    users: UserSettings = field(default_factory=UserSettings)
    sessions: SessionSettings = field(default_factory=SessionSettings)
    web: WebSettings = field(default_factory=WebSettings)


def load_settings(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Gather the settings.

    Raises
    ------
    SettingsRefused
        In one sentence that names the file or variable, the section and the field.
    """
    environment = os.environ if environment is None else environment
    sections = _from_file(file) if file is not None else {}
    where = f"the file {file}" if file is not None else "the settings"
    types = get_type_hints(Settings)
    for name, value in environment.items():
        if not name.startswith(ENVIRONMENT_PREFIX) or "__" not in name:
            continue
        section, *tables, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if section not in types:
            raise SettingsRefused(
                f"The variable {name} names a section of settings that does not exist: {section}."
            )
        place = sections.setdefault(section, {})
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise SettingsRefused(f"The variable {name} names a table of settings where there is a value.")
        place[key] = value
        where = f"{where} and the environment" if "environment" not in where else where
    made: dict[str, Any] = {}
    for section, values in sections.items():
        if section not in types:
            raise SettingsRefused(f"There is no section [{section}] of settings, named in {where}.")
        made[section] = _section(types[section], section, values, where)
    return Settings(**made)


def _from_file(file: Path) -> dict[str, dict[str, Any]]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsRefused(
            f"The settings file {file} cannot be read: {os.strerror(error.errno or 0).lower()}."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsRefused(f"The settings file {file} is not TOML: {error}.") from None
    for section, values in content.items():
        if not isinstance(values, dict):
            raise SettingsRefused(f"The setting {section} in {file} stands outside of any [section].")
    return content


def _section(kind: Any, section: str, values: Mapping[str, Any], where: str) -> Any:
    prepared = _prepared(kind, section, values, where)
    try:
        return msgspec.convert(prepared, kind, strict=False, dec_hook=_from_plain)
    except msgspec.ValidationError as error:
        # The path in msgspec's text is "$.field"; the section makes it findable.
        message = str(error).replace("`$.", f"`{section}.")
        raise SettingsRefused(f"A setting in {where} is not valid: {message.rstrip('.')}.") from None


def _prepared(kind: Any, section: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of a section as `msgspec` takes them; refuse those that it does not have."""
    known = {part.name for part in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    prepared = {}
    for key, value in values.items():
        if key not in known:
            raise SettingsRefused(f"The section [{section}] has no setting {key}, named in {where}.")
        inner = hints[key]
        if dataclasses.is_dataclass(inner) and isinstance(value, dict):
            prepared[key] = _prepared(inner, f"{section}.{key}", value, where)
        else:
            prepared[key] = _plain_value(inner, value)
    return prepared


def _plain_value(hint: Any, value: Any) -> Any:
    """An environment variable holds a tuple as words separated by commas, and nothing where there is no path."""
    if isinstance(value, str) and str(hint).startswith("tuple["):
        return [part.strip() for part in value.split(",") if part.strip()]
    if value == "" and hint == Path | None:
        return None
    return value


def _from_plain(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")


def as_toml(settings: Settings) -> str:
    """Return the settings as a settings file, secrets replaced by asterisks."""
    return tomli_w.dumps(_table(settings))


def _table(section: Any) -> dict[str, Any]:
    return {
        entry.name: _plain(entry.name, getattr(section, entry.name))
        for entry in dataclasses.fields(section)
        if getattr(section, entry.name) is not None
    }


def _plain(name: str, value: Any) -> Any:
    if any(mark in name for mark in _SECRET_MARKS):
        return "***" if value else ""
    if dataclasses.is_dataclass(value):
        return _table(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | frozenset | list):
        return [_plain("", part) for part in value]
    return value
