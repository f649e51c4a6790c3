"""The laws of CallIndex. A driver's test class inherits them and says how to open an index in a folder."""

from __future__ import annotations

import multiprocessing
import random
import string
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.call_document import CallDocument, CallState
from events.errors import CallwardenError
from events.finding import AlertAnswered, Severity
from events.identity import Role, record_id
from events.lifecycle import CallSourceKind
from events.transcript import PiiKind
from indexer.fold import fold
from indexer.index import BadQuery, CallIndex, CallQuery, PutOutcome, SearchOrder, SearchPage
from indexer.query_text import Condition, Every, Said, Some, Without
from tests.indexer.call_records import STARTED_AT_MS, alert, call_id, call_records, document_of, finding

SaidTurns = Sequence[tuple[int, str]]
Opener = Callable[[Path], CallIndex]


def document(number: int, said: SaidTurns, started_at_ms: int = STARTED_AT_MS, **more: object) -> CallDocument:
    return document_of(call_records(call_id(number), said, started_at_ms, **more))  # type: ignore[arg-type]


def found(page: SearchPage) -> list[int]:
    return [int(hit.summary.call, 16) for hit in page.hits]


def _put_and_search(opener: Opener, folder: Path, numbers: range) -> None:
    index = opener(folder)
    for number in numbers:
        index.put(document(number, [(0, f"common word and word{number}")]))
        assert found(index.search(CallQuery(f"word{number}"))) == [number]
    index.close()


VOCABULARY = ["kx1", "kx2", "kx3", "ky1", "ky2", "ky3"]
"""No forms of each other, so that stemming does not matter."""


def random_condition(dice: random.Random, depth: int) -> Condition:
    kind = dice.choice([Said, Said, Every, Some, Without]) if depth else Said
    if kind is Said:
        prefix = dice.random() < 0.2
        words = dice.choices(VOCABULARY, k=dice.choice([1, 1, 2]))
        if prefix:
            words[-1] = words[-1][:-1]
        return Said(" ".join(words), prefix, dice.choice([None, None, Role.AGENT, Role.CUSTOMER]))
    if kind is Without:
        return Without(random_condition(dice, depth - 1))
    return kind(tuple(random_condition(dice, depth - 1) for _ in range(dice.randint(2, 3))))


def as_text(condition: Condition) -> str:
    match condition:
        case Said(words, prefix, role):
            return f'{"" if role is None else f"{role.value}:"}"{words}"{"*" if prefix else ""}'
        case Every(parts):
            return "(" + " AND ".join(map(as_text, parts)) + ")"
        case Some(parts):
            return "(" + " OR ".join(map(as_text, parts)) + ")"
        case Without(part):
            return f"NOT {as_text(part)}"
    raise AssertionError(condition)


def holds(condition: Condition, said: SaidTurns) -> bool:
    """The same by trying every place of every segment."""
    match condition:
        case Said(words, prefix, role):
            wanted = words.split()
            return any(
                all(
                    have == want or (prefix and place == len(wanted) - 1 and have.startswith(want))
                    for place, (have, want) in enumerate(zip(text.split()[start:], wanted, strict=False))
                )
                for leg, text in said
                if role is None or role is (Role.AGENT, Role.CUSTOMER)[leg]
                for start in range(len(text.split()) - len(wanted) + 1)
            )
        case Every(parts):
            return all(holds(part, said) for part in parts)
        case Some(parts):
            return any(holds(part, said) for part in parts)
        case Without(part):
            return not holds(part, said)
    raise AssertionError(condition)


class CallIndexLaws:
    """Inherit, and set `opener` to a module-level function (it travels to other processes)."""

    opener: Opener
    thorough_opener: Opener | None = None
    """As `opener`, for a driver whose `opener` leaves the rewriting of files to later for the tests' speed."""

    def files_hold(self, folder: Path, word: str) -> bool:
        """Whether any file of the index in `folder` holds `word`. A driver whose files lie elsewhere says so
        in its own way."""
        return any(word.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())

    @pytest.fixture
    def index(self, tmp_path: Path) -> Iterator[CallIndex]:
        index = type(self).opener(tmp_path)
        yield index
        index.close()

    # Putting and getting

    def test_what_was_put_is_got_back_whole(self, index: CallIndex) -> None:
        whole = document(1, [(0, "hello"), (1, "my card is [CARD_NUMBER]")], findings=[("R", 900, Severity.LOW)])
        assert index.put(whole) is PutOutcome.STORED
        assert index.get(whole.call) == whole

    def test_an_unknown_call_is_none(self, index: CallIndex) -> None:
        assert index.get(call_id(404)) is None

    def test_putting_again_changes_nothing(self, index: CallIndex) -> None:
        one = document(1, [(0, "hello")])
        assert [index.put(one), index.put(one)] == [PutOutcome.STORED, PutOutcome.STORED]
        assert index.search(CallQuery("hello")).total == 1

    def test_an_older_revision_is_ignored(self, index: CallIndex) -> None:
        records = call_records(call_id(1), [(0, "hello"), (1, "goodbye")])
        old, new = document_of(records[:4]), document_of(records)
        index.put(new)
        assert index.put(old) is PutOutcome.STALE
        assert index.get(new.call) == new
        assert index.search(CallQuery("goodbye")).total == 1

    def test_a_newer_revision_replaces_words_findings_and_state(self, index: CallIndex) -> None:
        old = document(1, [(0, "teh words")], ended=False)
        new = replace(document(1, [(0, "the words")]), revision=old.revision + 1)
        index.put(old)
        assert index.put(new) is PutOutcome.STORED
        assert index.search(CallQuery("teh")).total == 0
        assert index.search(CallQuery("the", states=(CallState.COMPLETE,))).total == 1
        assert index.search(CallQuery(states=(CallState.IN_PROGRESS,))).total == 0

    def test_two_writers_of_one_revision_do_not_undo_each_other(self, index: CallIndex) -> None:
        base = document(1, [(0, "hello")])
        ours, theirs = fold(base, finding(base.call, "A", 1)), fold(base, finding(base.call, "B", 2))
        assert ours.revision == theirs.revision
        assert index.put(ours) is PutOutcome.STORED
        assert index.put(theirs) is PutOutcome.STALE
        assert index.get(base.call) == ours

    def test_a_document_made_from_another_revision_is_stale(self, index: CallIndex) -> None:
        base = document(1, [(0, "hello")])
        ours = fold(base, finding(base.call, "A", 1))
        theirs = fold(fold(base, finding(base.call, "B", 2)), finding(base.call, "C", 3))
        assert index.put(base, onto=7) is PutOutcome.STALE
        assert index.get(base.call) is None
        assert index.put(base, onto=0) is PutOutcome.STORED
        assert index.put(ours, onto=base.revision) is PutOutcome.STORED
        assert index.put(theirs, onto=base.revision) is PutOutcome.STALE
        assert index.put(ours, onto=base.revision) is PutOutcome.STORED, "It is there already."
        assert index.get(base.call) == ours

    def test_several_are_put_in_one_step_with_an_outcome_each(self, index: CallIndex) -> None:
        one, two, three = (document(number, [(0, "hello")]) for number in (1, 2, 3))
        index.forget(two.call)
        outcomes = index.put_all([(one, 0), (two, 0), (three, 9)])
        assert outcomes == [PutOutcome.STORED, PutOutcome.FORGOTTEN, PutOutcome.STALE]

    def test_many_processes_put_and_find_at_once(self, tmp_path: Path) -> None:
        opener = type(self).opener
        opener(tmp_path).close()
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_put_and_search, args=(opener, tmp_path, range(first, first + 10)))
            for first in (100, 200, 300)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        index = opener(tmp_path)
        assert index.search(CallQuery("common")).total == 30
        index.close()

    # Text

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("refund", {1, 2}),
            ("REFUNDS", {1, 2}),
            ("refund invoice", {2}),
            ("refund AND invoice", {2}),
            ("refund OR lawyer", {1, 2, 3}),
            ("refund NOT invoice", {1}),
            ("refund -invoice", {1}),
            ("NOT refund", {3, 4}),
            ("lawyer OR NOT refund", {3, 4}),
            ("NOT (refund OR lawyer)", {4}),
            ('"guaranteed return"', {3}),
            ('"return guaranteed"', set()),
            ("guarant*", {3, 4}),
            ('"the guaran"*', {4}),
            ("(refund OR lawyer) AND today", {1}),
            ("agent:refund", {1}),
            ("customer:refund", {2}),
            ("agent:(refund OR lawyer) -customer:today", {1, 3}),
            ("card_number", {4}),
            ("[CARD_NUMBER]", {4}),
            ("card number", set()),
            ("can't", {3}),
            ("\u201cguaranteed return\u201d", {3}),
            ("and", {1, 4}),
        ],
    )
    def test_a_text_finds_these_calls(self, index: CallIndex, text: str, expected: set[int]) -> None:
        index.put(document(1, [(0, "a refund and today")]))
        index.put(document(2, [(1, "the refund"), (0, "an invoice")]))
        index.put(document(3, [(0, "you can't lose a lawyer"), (0, "it is a guaranteed return")]))
        index.put(document(4, [(1, "and [CARD_NUMBER] with the guarantee")]))
        assert set(found(index.search(CallQuery(text)))) == expected

    def test_a_phrase_does_not_reach_into_another_segment(self, index: CallIndex) -> None:
        index.put(document(1, [(0, "this is risk"), (0, "free of charge")]))
        index.put(document(2, [(0, "this is risk free of charge")]))
        assert found(index.search(CallQuery('"risk free"'))) == [2]

    def test_speaker_and_phrase_are_true_of_one_segment(self, index: CallIndex) -> None:
        index.put(document(1, [(0, "good morning"), (1, "a guaranteed return please")]))
        index.put(document(2, [(0, "a guaranteed return indeed"), (1, "good morning")]))
        assert found(index.search(CallQuery('"guaranteed return"', spoken_by=Role.AGENT))) == [2]
        assert found(index.search(CallQuery('"guaranteed return"', spoken_by=Role.CUSTOMER))) == [1]
        assert found(index.search(CallQuery("guaranteed morning", spoken_by=Role.CUSTOMER))) == []

    def test_a_role_without_text_means_that_it_said_something(self, index: CallIndex) -> None:
        index.put(document(1, [(0, "hello")]))
        index.put(document(2, [(1, "hello")]))
        assert found(index.search(CallQuery(spoken_by=Role.CUSTOMER))) == [2]

    def test_names_addresses_and_rules_are_found_but_nobody_said_them(self, index: CallIndex) -> None:
        index.put(document(1, [(0, "hello")], speakers=("Zoë Quux", ""), findings=[("FIN-X", 1, Severity.LOW)]))
        for text in ("quux", "zoe", '"Title of FIN-X"', "sip:ann@pbx.example", "sales"):
            assert index.search(CallQuery(text)).total == 1, text
            assert index.search(CallQuery(text, spoken_by=Role.AGENT)).total == 0, text

    def test_more_often_said_is_more_relevant(self, index: CallIndex) -> None:
        filler = ["and", "then", "we", "talked", "about", "the", "weather", "for", "a", "while"]
        index.put(document(1, [(0, " ".join(["refund", *filler, *filler]))]))
        index.put(document(2, [(0, " ".join(["refund refund", *filler]))]))
        index.put(document(3, [(0, " ".join(filler))]))
        page = index.search(CallQuery("refund"))
        assert found(page) == [2, 1]
        assert page.hits[0].score > page.hits[1].score > 0

    def test_highlights_show_segment_time_and_places(self, index: CallIndex) -> None:
        one = document(1, [(1, "hello"), (0, "we refund the refunds <b>"), (1, "refund")])
        index.put(one)
        first, second = index.search(CallQuery("refund")).hits[0].highlights
        assert first.text == "we refund the refunds <b>"
        assert [first.text[begin:end] for begin, end in first.marks] == ["refund", "refunds"]
        assert (first.segment, first.leg, first.role) == (one.segments[1].id, 0, Role.AGENT)
        assert first.start_ms == one.segments[1].words[1].start_ms
        assert second.segment == one.segments[2].id

    def test_highlights_follow_the_speaker_and_the_phrase(self, index: CallIndex) -> None:
        index.put(document(1, [(1, "a refund"), (0, "a refund"), (0, "fund a"), (0, "a")]))
        (highlight,) = index.search(CallQuery('"a refund"', spoken_by=Role.AGENT)).hits[0].highlights
        assert (highlight.leg, highlight.marks) == (0, ((0, 8),))

    def test_a_fact_that_matched_is_highlighted_without_a_segment(self, index: CallIndex) -> None:
        index.put(document(1, [(0, "hello")], speakers=("Ann Quux", "")))
        (highlight,) = index.search(CallQuery("quux")).hits[0].highlights
        assert (highlight.text, highlight.marks, highlight.segment) == ("Ann Quux", ((4, 8),), None)

    def test_any_condition_finds_what_trying_every_call_finds(self, tmp_path: Path) -> None:
        dice = random.Random(11)
        index = type(self).opener(tmp_path / "many")
        calls = {
            number: [
                (dice.randint(0, 1), " ".join(dice.choices(VOCABULARY, k=dice.randint(1, 6)))) for _ in range(3)
            ]
            for number in range(1, 41)
        }
        for number, said in calls.items():
            index.put(document(number, said))
        for _ in range(400):
            condition = random_condition(dice, depth=3)
            expected = {number for number, said in calls.items() if holds(condition, said)}
            text = as_text(condition)
            assert set(found(index.search(CallQuery(text, page_size=100)))) == expected, text
        index.close()

    # Filters

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (CallQuery(), {1, 2, 3, 4}),
            (CallQuery("hello"), {1, 2, 3, 4}),
            (CallQuery("hello", rules=("R-1",)), {1, 3}),
            (CallQuery(rules=("R-1", "R-2")), {1, 2, 3}),
            (CallQuery(severities=(Severity.HIGH,)), {1, 2}),
            (CallQuery(rules=("R-1",), severities=(Severity.LOW,)), {3}),
            (CallQuery(has_findings=True), {1, 2, 3}),
            (CallQuery("hello", has_findings=False), {4}),
            (CallQuery(started_from_ms=STARTED_AT_MS + 2_000), {2, 3, 4}),
            (CallQuery(started_before_ms=STARTED_AT_MS + 2_000), {1}),
            (CallQuery(started_from_ms=STARTED_AT_MS + 2_000, started_before_ms=STARTED_AT_MS + 3_001), {2, 3}),
            (CallQuery(states=(CallState.COMPLETE,)), {1, 2, 3}),
            (CallQuery(states=(CallState.IN_PROGRESS, CallState.ENDED)), {4}),
            (CallQuery(entities=(PiiKind.CARD_NUMBER,)), {2}),
            (CallQuery(entities=(PiiKind.CARD_NUMBER, PiiKind.SSN)), {2, 4}),
            (CallQuery(sources=(CallSourceKind.IMPORT,)), {3}),
            (CallQuery(shortest_ms=3_000), {3}),
            (CallQuery(longest_ms=1_500), {1}),
            (CallQuery("agent:hello", sources=(CallSourceKind.SIPREC,), has_findings=True), {1, 2}),
        ],
    )
    def test_a_filter_finds_these_calls(self, index: CallIndex, query: CallQuery, expected: set[int]) -> None:
        high, low = Severity.HIGH, Severity.LOW
        for one in (
            document(1, [(0, "hello")], STARTED_AT_MS + 1_000, findings=[("R-1", 1, high)]),
            document(2, [(0, "hello my [CARD_NUMBER]")], STARTED_AT_MS + 2_000, findings=[("R-2", 1, high)]),
            document(
                3,
                [(0, "hello " * 10)],
                STARTED_AT_MS + 3_000,
                findings=[("R-1", 1, low)],
                source=CallSourceKind.IMPORT,
            ),
            document(4, [(0, "hello [SSN] a")], STARTED_AT_MS + 4_000, ended=False),
        ):
            index.put(one)
        page = index.search(query)
        assert set(found(page)) == expected
        assert page.total == len(expected)

    def test_facets_count_all_calls_found(self, index: CallIndex) -> None:
        for number in range(1, 6):
            rules = [("R-1", 1, Severity.HIGH), ("R-1", 900, Severity.LOW)] if number <= 3 else []
            index.put(document(number, [(0, "hello"), (1, "[SSN]" if number == 1 else "x")], findings=rules))
        facets = index.search(CallQuery("hello", page_size=2)).facets
        assert facets.rules == (("R-1", 3),)
        assert facets.severities == ((Severity.HIGH, 3), (Severity.LOW, 3))
        assert facets.states == ((CallState.COMPLETE, 5),)
        assert facets.sources == ((CallSourceKind.SIPREC, 5),)
        assert facets.entities == ((PiiKind.SSN, 1),)
        assert facets.spoken_by == ((Role.AGENT, 5), (Role.CUSTOMER, 5))

    def test_a_summary_says_what_a_list_shows(self, index: CallIndex) -> None:
        base = document(1, [(0, "good morning"), (1, "hello [SSN]")], findings=[("B", 1, Severity.LOW)])
        worse = finding(base.call, "A", 2, Severity.HIGH)
        for record in (
            worse,
            alert(worse),
            AlertAnswered(record_id(base.call, "answer"), alert(worse).id, base.call, "sue", STARTED_AT_MS),
        ):
            base = fold(base, record)
        index.put(base)
        summary = index.search(CallQuery()).hits[0].summary
        assert (summary.rules, summary.worst) == (("A", "B"), Severity.HIGH)
        assert (summary.findings, summary.alerts, summary.open_alerts) == (2, 2, 1)
        assert summary.entities == (PiiKind.SSN,)
        assert summary.opening == "good morning hello [SSN]"
        assert [leg.speaker_name for leg in summary.legs] == ["Ann Archer", ""]

    # Pages

    @pytest.mark.parametrize("order", list(SearchOrder))
    @pytest.mark.parametrize("text", ["hello", ""])
    def test_pages_follow_without_hole_or_double(self, index: CallIndex, order: SearchOrder, text: str) -> None:
        for number in range(1, 24):
            # Calls that start at the same moment and are equally relevant must not fall between pages.
            index.put(document(number, [(0, "hello " * (number % 3 + 1))], STARTED_AT_MS + number // 5))
        everything = found(index.search(CallQuery(text, order=order, page_size=100)))
        paged: list[int] = []
        query = CallQuery(text, order=order, page_size=4)
        while True:
            page = index.search(query)
            assert page.total == 23
            paged += found(page)
            if page.next_cursor is None:
                break
            query = replace(query, cursor=page.next_cursor)
        assert paged == everything
        assert sorted(paged) == list(range(1, 24))

    def test_newest_first(self, index: CallIndex) -> None:
        for number in (2, 3, 1):
            index.put(document(number, [(0, "hello")], STARTED_AT_MS + number))
        assert found(index.search(CallQuery("hello", order=SearchOrder.NEWEST))) == [3, 2, 1]
        assert found(index.search(CallQuery())) == [3, 2, 1]

    def test_a_cursor_of_another_search_is_refused(self, index: CallIndex) -> None:
        for number in (1, 2):
            index.put(document(number, [(0, "hello")]))
        cursor = index.search(CallQuery("hello", page_size=1)).next_cursor
        assert cursor is not None
        with pytest.raises(BadQuery, match="belongs to another search"):
            index.search(CallQuery("goodbye", cursor=cursor))

    @pytest.mark.parametrize("cursor", ["x", "AAAA", "????", "é", "gw", "A" * 500])
    def test_a_damaged_cursor_is_refused(self, index: CallIndex, cursor: str) -> None:
        with pytest.raises(BadQuery, match="page mark is damaged"):
            index.search(CallQuery("hello", cursor=cursor))

    # Hostile text

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(st.text(max_size=60) | st.text(string.punctuation + " ANDORTabc:", max_size=40))
    def test_any_text_gives_a_page_or_one_sentence(self, index: CallIndex, text: str) -> None:
        refused = ""
        try:
            index.search(CallQuery(text))
        except BadQuery as error:
            refused = str(error)
        assert not refused or ("search" in refused and refused.endswith("."))

    @pytest.mark.parametrize(
        "text", ['"', "(a", "a)", "AND", "a OR", "NOT", "*", '""', "a*b", "agent:", "(" * 30 + "a", "!?"]
    )
    def test_a_text_without_sense_is_refused_in_one_sentence(self, index: CallIndex, text: str) -> None:
        if text == "agent:":
            assert index.search(CallQuery(text)).total == 0
            return
        with pytest.raises(BadQuery, match=r"^[A-Z].*\.$"):
            index.search(CallQuery(text))

    @pytest.mark.parametrize("text", ["a " * 100, " OR ".join("abc") + " OR a" * 70])
    def test_too_many_words_are_refused(self, index: CallIndex, text: str) -> None:
        with pytest.raises(BadQuery, match="at most 64"):
            index.search(CallQuery(text))

    def test_as_many_words_as_allowed_are_searched(self, index: CallIndex) -> None:
        words = [f"w{number}" for number in range(64)]
        index.put(document(1, [(0, " ".join(words))]))
        for text in (" ".join(words), " OR ".join(words), "x OR (" + " -".join(words[:60]) + ")"):
            assert isinstance(index.search(CallQuery(text)), SearchPage)
        assert index.search(CallQuery(" ".join(words))).total == 1

    @pytest.mark.parametrize("inside", ["x OR y (", "x y OR (", "NOT (x NOT y NOT (", "agent:(x* OR -y -("])
    def test_conditions_within_each_other_are_searched_or_refused(self, index: CallIndex, inside: str) -> None:
        index.put(document(1, [(0, "x y z")]))
        answered = 0
        refusals = set()
        for depth in range(1, 21):
            text = inside * depth + "z" + ")" * inside.count("(") * depth
            try:
                assert index.search(CallQuery(text)).total in (0, 1)
                answered = depth
            except BadQuery as refused:
                refusals.add(str(refused))
        assert all("within each other" in said for said in refusals)
        assert answered >= 4

    # Forgetting

    def test_a_forgotten_call_is_gone_and_stays_gone(self, index: CallIndex) -> None:
        one, two = document(1, [(0, "hello")]), document(2, [(0, "hello")])
        index.put(one)
        index.put(two)
        index.forget(one.call)
        assert (index.get(one.call), index.is_forgotten(one.call)) == (None, True)
        assert found(index.search(CallQuery("hello"))) == [2]
        assert index.put(replace(one, revision=99)) is PutOutcome.FORGOTTEN
        assert index.get(one.call) is None
        assert found(index.search(CallQuery())) == [2]
        assert not index.is_forgotten(two.call)

    def test_a_call_can_be_forgotten_before_anything_came_and_twice(self, index: CallIndex) -> None:
        one = document(1, [(0, "hello")])
        index.forget(one.call)
        index.forget(one.call)
        assert index.put(one) is PutOutcome.FORGOTTEN

    def test_forgetting_holds_after_opening_again(self, index: CallIndex, tmp_path: Path) -> None:
        one = document(1, [(0, "hello")])
        index.put(one)
        index.forget(one.call)
        again = type(self).opener(tmp_path)
        assert again.put(one) is PutOutcome.FORGOTTEN
        again.close()

    def test_a_forgotten_calls_words_are_in_no_file(self, tmp_path: Path) -> None:
        index = (type(self).thorough_opener or type(self).opener)(tmp_path)
        dice = random.Random(7)
        rare = "zyzzyvaquux"
        for number in range(20):
            index.put(document(number + 10, [(0, " ".join(dice.sample("abcdefgh", 5)))]))
        one = document(1, [(0, f"the {rare} here")])
        index.put(one)
        index.put(fold(one, finding(one.call, "R", 5)))
        assert self.files_hold(tmp_path, rare), "Before, the word is there; else this test would prove nothing."
        index.forget(one.call)
        assert not self.files_hold(tmp_path, rare)
        index.close()

    # Expiry, rebuilding, status

    def test_old_calls_leave_and_others_stay(self, index: CallIndex) -> None:
        year_ms = 365 * 86_400_000
        young = document(1, [(0, "hello")], STARTED_AT_MS)
        old = document(2, [(0, "hello")], STARTED_AT_MS - year_ms)
        older = document(3, [(0, "hello")], STARTED_AT_MS - 2 * year_ms)
        undated = replace(document(4, [(0, "hello")]), started_at_ms=0)
        index.put_all([(item, None) for item in (young, old, older, undated)])
        gone = [index.expire(STARTED_AT_MS - year_ms // 2) for _ in range(4)]
        assert (sum(gone), gone[-1]) == (2, 0)
        assert sorted(found(index.search(CallQuery("hello")))) == [1, 4]
        assert [index.get(item.call) for item in (young, old, older, undated)] == [young, None, None, undated]
        assert index.expire(STARTED_AT_MS + 1) in (0, 1), "A driver may keep a month as a whole."

    def test_an_expired_call_can_be_put_again_and_a_forgotten_one_cannot(self, index: CallIndex) -> None:
        year_ms = 365 * 86_400_000
        one, two = (document(number, [(0, "hello")], STARTED_AT_MS - year_ms) for number in (1, 2))
        index.put_all([(one, None), (two, None)])
        index.forget(two.call)
        while index.expire(STARTED_AT_MS):
            pass
        assert index.search(CallQuery()).total == 0
        assert not index.is_forgotten(one.call)
        assert [index.put(one), index.put(two)] == [PutOutcome.STORED, PutOutcome.FORGOTTEN]
        assert found(index.search(CallQuery("hello"))) == [1]

    def test_a_call_whose_start_becomes_known_later_is_one_call(self, index: CallIndex) -> None:
        known = document(1, [(0, "hello"), (1, "goodbye")])
        early = replace(known, started_at_ms=0, revision=1)
        assert index.put(early, onto=0) is PutOutcome.STORED
        assert index.search(CallQuery("hello")).hits[0].summary.started_at_ms == 0
        assert index.put(known, onto=1) is PutOutcome.STORED
        page = index.search(CallQuery("hello", started_from_ms=1))
        assert (page.total, page.hits[0].summary.started_at_ms) == (1, STARTED_AT_MS)
        assert index.get(known.call) == known
        index.forget(known.call)
        assert index.search(CallQuery()).total == 0
        assert index.put(known) is PutOutcome.FORGOTTEN

    def test_a_rebuilt_index_has_everything_and_nothing_forgotten(self, index: CallIndex) -> None:
        documents = [document(number, [(0, f"hello word{number}")]) for number in range(1, 31)]
        index.put_all([(item, None) for item in documents])
        index.forget(documents[0].call)
        told: list[tuple[int, int]] = []
        assert index.rebuild(lambda done, total: told.append((done, total))) == 29
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1]
        assert found(
            index.search(
                CallQuery(page_size=100),
            )
        ) == list(range(2, 31))
        assert [index.get(item.call) for item in documents] == [None, *documents[1:]]
        assert index.put(documents[0]) is PutOutcome.FORGOTTEN
        newer = fold(documents[1], finding(documents[1].call, "R", 1))
        assert index.put(newer, onto=documents[1].revision) is PutOutcome.STORED
        assert index.put(replace(newer, revision=99), onto=documents[1].revision) is PutOutcome.STALE
        assert index.search(CallQuery("word2", rules=("R",))).total == 1

    def test_rebuilding_beside_writers_loses_and_undoes_nothing(self, tmp_path: Path) -> None:
        index = type(self).opener(tmp_path)
        documents = [document(number, [(0, "hello")]) for number in range(1, 61)]
        index.put_all([(item, None) for item in documents])
        stop, wrote = threading.Event(), threading.Event()
        expected = {item.call: item for item in documents}
        totals: list[int] = []

        def write() -> None:
            writer = type(self).opener(tmp_path)
            dice = random.Random(5)
            while not stop.is_set():
                call = dice.choice(documents[1:]).call
                newer = fold(expected[call], finding(call, "R", expected[call].revision))
                assert writer.put(newer, onto=expected[call].revision) is PutOutcome.STORED
                expected[call] = newer
                wrote.set()
            writer.close()

        def look() -> None:
            reader = type(self).opener(tmp_path)
            while not stop.is_set():
                totals.append(reader.search(CallQuery("hello", page_size=1)).total)
            reader.close()

        threads = [threading.Thread(target=write), threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        try:
            assert wrote.wait(60)
            assert index.rebuild(lambda done, total: None) >= 60
            assert index.put(document(100, [(0, "bye")])) is PutOutcome.STORED
            index.forget(documents[0].call)
            index.rebuild(lambda done, total: None)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert set(totals) <= {59, 60}
        assert max(expected[item.call].revision for item in documents) > documents[1].revision, "It did write."
        assert [index.get(item.call) for item in documents] == [
            None,
            *(expected[item.call] for item in documents[1:]),
        ]
        assert index.search(CallQuery("hello")).total == 59
        index.close()

    def test_a_status_counts_calls_and_tombstones(self, index: CallIndex) -> None:
        for number in (1, 2, 3):
            index.put(document(number, [(0, "hello")]))
        index.forget(call_id(3))
        index.forget(call_id(4))
        status = index.status()
        assert (status.calls, status.forgotten) == (2, 2)
        assert status.size_bytes > 0
        assert all(part.mapping == status.mapping for part in status.parts)

    # Contradictions

    def test_contradictory_limits_are_refused(self) -> None:
        for wrong in (
            {"started_from_ms": 2, "started_before_ms": 2},
            {"shortest_ms": 3, "longest_ms": 2},
            {"page_size": 0},
            {"text": "a" * 2000},
        ):
            with pytest.raises(CallwardenError, match=r"\.$"):
                CallQuery(**wrong)  # type: ignore[arg-type]
