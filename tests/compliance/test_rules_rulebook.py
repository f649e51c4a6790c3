"""Rulebooks: those that ship do what their examples say; a typing error is named by file, line and field."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compliance.rules.examples import judge_example, run_examples
from compliance.rules.rule import AllOf, Count, Near, Not, RequiredBy, SpokenBy, Within, phrases_of
from compliance.rules.rulebook import SHIPPED, check_rulebook, load_rulebooks
from compliance.rules.yaml_source import MOST_BYTES, RulebookError
from events.finding import FindingKind, Severity
from events.identity import Role

GOOD = """\
rulebook: my-book
version: 1.10
title: My book
rules:
  - id: MY-RULE
    title: A rule
    severity: low
    sources: [Policy 7]
    when:
      role:
        is: agent
        that:
          near:
            words: 3
            of: [risk free, investment*]
    examples:
      match: ["agent: a risk-free investment"]
      no_match: ["customer: a risk-free investment"]
"""


def written(folder: Path, text: str, name: str = "my-book.yaml") -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(text))
    return file


def problems_of(folder: Path, text: str) -> list[str]:
    file = written(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in check_rulebook(file)]


# The rulebooks that ship


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_shipped_rulebook_is_good_and_its_examples_hold(file: Path) -> None:
    assert check_rulebook(file) == []


SHIPPED_EXAMPLES = [
    (book, rule, example) for book in load_rulebooks() for rule in book.rules for example in rule.examples
]


@pytest.mark.parametrize(
    ("book", "rule", "example"),
    SHIPPED_EXAMPLES,
    ids=[
        f"{rule.id}-{'match' if example.matches else 'no'}-{example.line}" for _, rule, example in SHIPPED_EXAMPLES
    ],
)
def test_a_shipped_example_holds(book: object, rule: object, example: object) -> None:
    assert bool(judge_example(book, rule, example)) is example.matches  # type: ignore[arg-type, attr-defined]


def test_the_shipped_rules_are_these() -> None:
    rules = {rule.id: rule for book in load_rulebooks() for rule in book.rules}
    assert set(rules) == {"REC-CONSENT", "FIN-GUARANTEE"}
    consent = rules["REC-CONSENT"]
    assert isinstance(consent.when, RequiredBy)
    assert (consent.when.ms, consent.when.role) == (30_000, Role.AGENT)
    assert consent.sources == ("Cal. Penal Code § 632", "Cal. Penal Code § 632.7")
    assert rules["FIN-GUARANTEE"].sources == ("FINRA Rule 2150(b)", "FINRA Rule 2010", "FINRA Rule 2020")
    for rule in rules.values():
        assert rule.alert
        assert rule.severity is Severity.HIGH
        assert {example.matches for example in rule.examples} == {True, False}


# A good rulebook


def test_a_rulebook_is_read_as_written(tmp_path: Path) -> None:
    (book,) = load_rulebooks([written(tmp_path, GOOD)])
    (rule,) = book.rules
    assert (book.name, book.version, book.title) == ("my-book", "1.10", "My book")
    assert (rule.id, rule.severity, rule.alert, rule.sources, rule.line) == (
        "MY-RULE",
        Severity.LOW,
        False,
        ("Policy 7",),
        5,
    )
    assert isinstance(rule.when, SpokenBy)
    assert isinstance(rule.when.part, Near)
    assert [phrase.text for phrase in phrases_of(rule.when)] == ["risk free", "investment*"]
    assert check_rulebook(book.file) == []


def test_every_operator_is_read(tmp_path: Path) -> None:
    text = GOOD.split("    when:")[0] + textwrap.indent(
        textwrap.dedent("""\
        when:
          all:
            - phrase: yes
            - any: [one, two]
            - first_s: {seconds: 2.5, that: three}
            - count: {at_least: 2, of: four}
            - near: {seconds: 10, of: [five, not: six]}
            - not: {role: {is: customer, that: seven}}
        """),
        "    ",
    )
    (book,) = load_rulebooks([written(tmp_path, text)])
    when = book.rules[0].when
    assert isinstance(when, AllOf)
    yes, _, first, count, near, last = when.parts
    assert [phrase.text for phrase in phrases_of(yes)] == ["yes"], "Not the YAML truth value."
    assert (first, count) == (Within(2_500, first.part), Count(2, count.part))  # type: ignore[union-attr]
    assert isinstance(near, Near)
    assert near.ms == 10_000
    assert isinstance(last, Not)


def test_a_folder_is_loaded_whole(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "b.yaml")
    written(tmp_path, GOOD.replace("my-book", "other").replace("MY-RULE", "OTHER"), "a.yml")
    assert [book.name for book in load_rulebooks([tmp_path])] == ["other", "my-book"]


# Typing errors


@pytest.mark.parametrize(
    ("wrong", "right", "sentence"),
    [
        (
            "severity: low",
            "severity: lwo",
            "line 7: the field rules[0].severity must be one of info, low, medium or high.",
        ),
        ("severity", "severty", "line 7: the field rules[0].severty is not known; did you mean severity."),
        ("severity: low", "about: x", "line 5: the field rules[0].severity is missing."),
        (
            "id: MY-RULE",
            "id: my rule",
            "line 5: the field rules[0].id must be upper-case words or numbers with hyphens",
        ),
        (
            "words: 3",
            "words: three",
            "line 14: the field rules[0].when.role.that.near.words must be a whole number",
        ),
        ("words: 3", "words: 2.5", "line 14: the field rules[0].when.role.that.near.words must be a whole number"),
        (
            "words: 3",
            "wrods: 3",
            "line 14: the field rules[0].when.role.that.near.wrods is not known; did you mean words.",
        ),
        ("is: agent", "is: agnet", "line 11: the field rules[0].when.role.is must be one of agent or customer."),
        (
            "near:",
            "naer:",
            "line 13: the field rules[0].when.role.that.naer is not an operator; did you mean near.",
        ),
        ("risk free", "risk (free", "line 15: the field rules[0].when.role.that.near.of[0] opens a parenthesis"),
        (
            "risk free",
            "50%",
            "line 15: the field rules[0].when.role.that.near.of[0] has '50%', which is not a word",
        ),
        ("risk free", "null", "line 15: the field rules[0].when.role.that.near.of[0] must be text."),
        ("[risk free, investment*]", "risk", "near.of must be a list of at least 2."),
        (
            "[risk free, investment*]",
            "[not: a, b]",
            "line 15: the field rules[0].when.role.that.near.of[0].not can only",
        ),
        ("role:", "not:", "line 10: the field rules[0].when.not can only stand in all, or in near"),
        ("title: A rule", "title: [A]", "line 6: the field rules[0].title must be text."),
        ("sources: [Policy 7]", "sources: []", "line 8: the field rules[0].sources must be a list of at least 1."),
        ("low", "low\n    alert: perhaps", "line 8: the field rules[0].alert must be true or false."),
        (
            "low",
            "low\n    min_confidence: 2",
            "line 8: the field rules[0].min_confidence must be a number between 0 and 1.",
        ),
        ("rulebook: my-book", "rulebook: My Book", "line 1: the field rulebook must be lower-case words"),
        ("my-book\nversion: 1.10", "my-book", "line 1: the field version is missing."),
        (
            "title: My book",
            "title: My: book",
            "line 3: the file is not valid YAML: mapping values are not allowed here.",
        ),
        (
            "title: My book",
            "title: 'My book",
            "line 3: the file is not valid YAML: found unexpected end of stream while scanning",
        ),
        (
            "title: My book",
            "title: My book\ntitle: x",
            "line 4: the field title stands here twice; first on line 3.",
        ),
        ("title: My book", "title: !!python/object:os.system x", "line 3: the field title has a tag,"),
        (
            "title: My book",
            "title: &a x\nabout: *a",
            "line 4: the file is not valid YAML: aliases are not allowed here.",
        ),
        (
            "title: My book",
            "title: x\n? [a]\n: b",
            "line 4: the field at the top has a key that is not plain text.",
        ),
        (
            'match: ["agent:',
            'match: ["agnet:',
            "line 17: the field rules[0].examples.match[0] must be a turn like",
        ),
        (
            'a risk-free investment"]\n      no',
            'nothing"]\n      no',
            "line 17: MY-RULE finds nothing in this example.",
        ),
        ("customer: a risk", "agent: a risk", "line 18: MY-RULE finds something in this example."),
    ],
)
def test_a_typing_error_is_named_by_file_line_and_field(
    tmp_path: Path, wrong: str, right: str, sentence: str
) -> None:
    assert wrong in GOOD
    problems = problems_of(tmp_path, GOOD.replace(wrong, right, 1))
    assert any(sentence in problem for problem in problems), problems
    for problem in problems:
        assert problem.startswith("my-book.yaml, line ")
        assert problem.endswith(".")
        assert "\n" not in problem


def test_all_problems_are_shown_at_once(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path, GOOD.replace("low", "lwo").replace("is: agent", "is: agnet").replace("3", "x")
    )
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty."),
        (b"\xff\xfe\x00", "line 1: the file is not UTF-8 text."),
        (b"a: \x00", "the file is not valid YAML:"),
        (b"just text", "line 1: the field at the top must be a mapping"),
        (b"[" * 5_000, "levels within each other."),
        (b"#" * (MOST_BYTES + 1), "the file is longer than"),
    ],
)
def test_a_file_that_is_no_rulebook_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "my-book.yaml"
    file.write_bytes(content)
    (problem,) = check_rulebook(file)
    assert sentence in str(problem)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (problem,) = check_rulebook(tmp_path / "none.yaml")
    assert str(problem) == f"{tmp_path}/none.yaml: the file cannot be read (no such file or directory)."


def test_one_rule_id_in_two_rulebooks_is_refused(tmp_path: Path) -> None:
    written(tmp_path, GOOD, "a.yaml")
    written(tmp_path, GOOD, "b.yaml")
    with pytest.raises(RulebookError, match=r"b\.yaml, line 5: the field id is MY-RULE, which stands in a\.yaml"):
        load_rulebooks([tmp_path])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulebookError, match="holds no rulebook"):
        load_rulebooks([tmp_path])


def test_required_by_stands_outermost_only(tmp_path: Path) -> None:
    text = GOOD.replace(
        GOOD[GOOD.index("role:") : GOOD.index("    examples")],
        "any: [required_by: {seconds: 3, role: agent, that: x}]\n",
    )
    assert any("required_by can only stand outermost" in problem for problem in problems_of(tmp_path, text))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_whole_sentences_or_a_rulebook(tmp_path: Path, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(GOOD) - 1))
    insert = data.draw(st.text(max_size=4))
    cut = data.draw(st.integers(0, 6))
    file = tmp_path / "my-book.yaml"
    file.write_text((GOOD[:place] + insert + GOOD[place + cut :]), errors="replace")
    for problem in check_rulebook(file):
        assert str(problem).endswith(".")


def test_examples_can_have_turns_with_times(tmp_path: Path) -> None:
    text = GOOD.replace(
        'match: ["agent: a risk-free investment"]',
        'match:\n        - ["agent: a risk", "customer: yes", "@1.5 agent: free investment"]',
    )
    (book,) = load_rulebooks([written(tmp_path, text)])
    assert run_examples(book) == []
    (finding,) = judge_example(book, book.rules[0], book.rules[0].examples[0])
    assert (finding.kind, finding.at_ms) == (FindingKind.SAID, 350)
