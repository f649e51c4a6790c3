"""YAML with the line of every value, for error messages that name it. Only plain data: no tags, no anchors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from events.errors import StopConsumer

MOST_BYTES: Final = 2_000_000
_PLAIN_TAGS: Final = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))
_SHOWN: Final = 40
WHOLE: Final = "at the top"
"""Where a file as a whole is meant."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong in a rulebook, as one sentence."""

    file: Path
    line: int | None
    field: str
    message: str
    """Continues "the field x "; without a field, a sentence without its beginning and end."""

    def __str__(self) -> str:
        where = str(self.file) if self.line is None else f"{self.file}, line {self.line}"
        return f"{where}: the field {self.field} {self.message}." if self.field else f"{where}: {self.message}."


class RulebookError(StopConsumer):
    """A rulebook cannot be used."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    """As written, so that a phrase `no` or a version `1.10` is not read as something else."""
    line: int
    kind: str
    """str, int, float, bool or null."""


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Value, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    items: dict[str, Value]
    lines: dict[str, int]
    """Of the keys."""
    line: int


Value = Scalar | Sequence | Mapping


def read_yaml(file: Path) -> Value:
    """Read one YAML document.

    Raises
    ------
    RulebookError
        The file cannot be read, is not YAML, or holds more than plain data.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "it cannot be opened").lower()
        raise RulebookError([Problem(file, None, "", f"the file cannot be read ({reason})")]) from None
    if len(content) > MOST_BYTES:
        raise RulebookError([Problem(file, None, "", f"the file is longer than {MOST_BYTES:,} bytes")])
    try:
        node = yaml.compose(content.decode("utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RulebookError([Problem(file, line, "", "the file is not UTF-8 text")]) from None
    except yaml.MarkedYAMLError as error:
        raise RulebookError([_not_yaml(file, error)]) from None
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise RulebookError([Problem(file, None, "", f"the file is not valid YAML: {reason}")]) from None
    except RecursionError:
        raise RulebookError([Problem(file, None, "", "the file has too many levels within each other")]) from None
    if node is None:
        raise RulebookError([Problem(file, None, "", "the file is empty")])
    return _value(node, file, "")


def _not_yaml(file: Path, error: yaml.MarkedYAMLError) -> Problem:
    reason = error.problem or error.context or "it cannot be read"
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and "end of" in reason:
        # What was opened and not closed is the error, not the end of the file where it was noticed.
        mark = error.context_mark
        reason = f"{reason} {error.context}"
    return Problem(file, None if mark is None else mark.line + 1, "", f"the file is not valid YAML: {reason}")


class _Loader(yaml.SafeLoader):
    """Composes nodes only. Aliases are refused: a few lines of them stand for more data than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _value(node: yaml.Node, file: Path, field: str) -> Value:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.ScalarNode):
        if node.tag not in _PLAIN_TAGS and not node.tag.startswith("tag:yaml.org,2002:timestamp"):
            raise RulebookError(
                [Problem(file, line, field, f"has a tag, {node.tag!r}; only plain values can be used")]
            )
        kind = node.tag.rpartition(":")[2]
        return Scalar(node.value, line, "str" if node.style in ("'", '"', "|", ">") else kind)
    if isinstance(node, yaml.SequenceNode):
        items = tuple(_value(item, file, f"{field}[{place}]") for place, item in enumerate(node.value))
        return Sequence(items, line)
    assert isinstance(node, yaml.MappingNode)
    values: dict[str, Value] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise RulebookError([Problem(file, key_line, field or WHOLE, "has a key that is not plain text")])
        key = key_node.value[:_SHOWN]
        path = f"{field}.{key}" if field else key
        if key in values:
            raise RulebookError([Problem(file, key_line, path, f"stands here twice; first on line {lines[key]}")])
        values[key] = _value(value_node, file, path)
        lines[key] = key_line
    return Mapping(values, lines, line)
