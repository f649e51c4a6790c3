"""Thousands of made-up calls with the words, forms and oddities of real ones, and questions about them.

Everything comes from a seed, so that two indexes can be asked the same about the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from events.call_document import CallDocument, CallState
from events.codec import Record
from events.finding import AlertAnswered, Severity
from events.identity import Role, record_id
from events.lifecycle import CallSourceKind
from events.transcript import PiiKind
from indexer.index import CallQuery, SearchOrder
from tests.indexer.call_records import STARTED_AT_MS, alert, call_id, call_records, document_of, finding, segment

DAY_MS = 86_400_000
DAYS = 150
"""The calls start within so many days, which is in six months of the calendar."""

# Stem, and forms that stemmers see as one, as another, or disagree about.
_FAMILIES = (
    "refund refunds refunded refunding refundable",
    "cancel cancels cancelled cancelling cancellation cancellations",
    "guarantee guaranteed guarantees guaranteeing guarantor",
    "invoice invoices invoiced invoicing",
    "policy policies policyholder",
    "charge charges charged charging charger",
    "pay pays paid paying payment payments payable",
    "call calls called calling caller callers",
    "complain complains complained complaint complaints complaining",
    "general generally generate generated generation generous",
    "happy happier happiest happiness happily happyland",
    "universe universal university universities",
    "organize organized organization organizing organ organs",
    "agree agreed agreeing agreement agreements disagree",
    "lawyer lawyers law laws lawful",
    "mortgage mortgages mortgaged remortgage",
    "premium premiums deposit deposits deposited",
    "rate rates rated rating rational relate related relational",
    "busy business businesses easily easy easier",
    "tie ties tied tying lie lies lied lying dying died",
    "box boxes wish wishes glass glasses address addresses addressed",
    "is was has have been being am are",
)
_COMMON_TEXT = (
    "the and you to i it of a that in for we on can your will my account number please thank okay yes just going "
    "get do be this with so what know if me not order back let see right want would time"
)
_COMMON = tuple(_COMMON_TEXT.split())
_ODD = (
    "can't", "don't", "i'm", "you're", "o'clock", "follow-up", "twenty-four", "café", "cafe", "naïve", "naive",
    "mr.", "p.m.", "24", "7th", "£50", "100%", "e-mail", "wi-fi", "re:", "a/c", "snake_case", "_", "zoë",
    "[CARD_NUMBER]", "[SSN]", "[PERSON_NAME]", "[PHONE_NUMBER]", "[VERIFICATION_CODE]",
)  # fmt: skip
_SPEAKERS = ("Ann Archer", "Zoë Quux", "Bob O'Neill", "Renée de la Cruz", "Agent 47", "")
_RULES = (
    ("FIN-GUARANTEE", Severity.HIGH),
    ("FIN-GUARANTEE", Severity.MEDIUM),
    ("REC-CONSENT", Severity.MEDIUM),
    ("PCI-PAUSE", Severity.LOW),
    ("GREETING", Severity.INFO),
)
MARKERS = ("quagga", "zebu", "okapi")
"""Said in the calls of `measured_calls` only, and not forms of anything."""


def _words() -> tuple[str, ...]:
    return tuple(word for family in _FAMILIES for word in family.split())


def _text(dice: random.Random, length: int) -> str:
    families = _words()
    kinds = dice.choices((_COMMON, families, _ODD), (60, 33, 7), k=length)
    return " ".join(dice.choice(kind) for kind in kinds)


def generated_call(number: int) -> CallDocument:
    """One call of some 5 to 90 words; its start, source, findings and state differ from call to call."""
    dice = random.Random(number)
    turns = dice.choices((1, 3, 6, 10), (5, 40, 40, 15))[0]
    said = [(dice.randint(0, 1), _text(dice, dice.randint(2, 12))) for _ in range(turns)]
    findings = [
        (rule, dice.randint(0, 20_000), severity)
        for rule, severity in dice.sample(_RULES, dice.choices((0, 1, 2, 4), (60, 25, 10, 5))[0])
    ]
    call = call_id(number)
    # Every tenth call shares its start with others, so that only the call id orders them.
    started_at_ms = STARTED_AT_MS + (
        dice.randrange(DAYS) * DAY_MS if number % 10 == 0 else dice.randrange(DAYS * DAY_MS)
    )
    records: list[Record] = call_records(
        call,
        said,
        started_at_ms,
        findings,
        dice.choice(list(CallSourceKind)),
        ended=dice.random() < 0.9,
        speakers=(dice.choice(_SPEAKERS), dice.choice(_SPEAKERS)),
    )
    if dice.random() < 0.1:
        records.append(segment(call, 2, 50, _text(dice, 5), dice.choice((Role.MIXED, Role.UNKNOWN))))
    if findings and dice.random() < 0.5:
        found = finding(call, *findings[0])
        raised = alert(found)
        records.append(AlertAnswered(record_id(call, "answer"), raised.id, call, "sue", started_at_ms + 90_000))
    document = document_of(records)
    return replace(document, started_at_ms=0) if number % 97 == 0 else document


def measured_calls(first: int, count: int) -> tuple[list[CallDocument], dict[str, tuple[tuple[int, ...], ...]]]:
    """Calls of exactly 60 words each, and how often each role says each marker in them.

    Returns
    -------
    documents
        Two-leg calls, alike but for their words.
    said
        By call id: for agent and customer, how often each of `MARKERS` is said.
    """
    documents: list[CallDocument] = []
    counts: dict[str, tuple[tuple[int, ...], ...]] = {}
    for number in range(first, first + count):
        dice = random.Random(number)
        often = tuple(tuple(dice.choices((0, 1, 2, 3), (45, 30, 15, 10))[0] for _ in MARKERS) for _ in range(2))
        said: list[tuple[int, str]] = []
        for leg, times in enumerate(often):
            words = [marker for marker, many in zip(MARKERS, times, strict=True) for _ in range(many)]
            words += [dice.choice(_COMMON) for _ in range(30 - len(words))]
            dice.shuffle(words)
            cut = dice.randint(1, 29)
            said += [(leg, " ".join(words[:cut])), (leg, " ".join(words[cut:]))]
        document = document_of(call_records(call_id(number), said, STARTED_AT_MS + number))
        documents.append(document)
        counts[document.call] = often
    return documents, counts


def generated_query(number: int) -> CallQuery:
    """A question as people ask them: text, filters, both, or nothing but an order."""
    dice = random.Random(1_000_000 + number)
    text = "" if number % 6 == 0 else _question(dice, dice.choice((0, 1, 1, 2)))
    query = CallQuery(text, order=dice.choice(list(SearchOrder)), page_size=dice.choice((7, 20, 200)))
    for _ in range(dice.choice((0, 0, 1, 2))):
        query = _filtered(dice, query)
    return query


def _filtered(dice: random.Random, query: CallQuery) -> CallQuery:
    kind = dice.randrange(9)
    if kind == 0:
        return replace(query, spoken_by=dice.choice(list(Role)))
    if kind == 1:
        return replace(query, rules=tuple(dice.sample(["FIN-GUARANTEE", "REC-CONSENT", "PCI-PAUSE", "NONE"], 2)))
    if kind == 2:
        return replace(query, severities=tuple(dice.sample(list(Severity), dice.randint(1, 3))))
    if kind == 3:
        return replace(query, has_findings=dice.random() < 0.5)
    if kind == 4:
        from_ms = STARTED_AT_MS + dice.randrange(DAYS) * DAY_MS
        before_ms = from_ms + dice.randint(1, 60) * DAY_MS
        limits = dice.choice(((from_ms, before_ms), (from_ms, None), (None, before_ms)))
        return replace(query, started_from_ms=limits[0], started_before_ms=limits[1])
    if kind == 5:
        return replace(query, states=tuple(dice.sample(list(CallState), dice.randint(1, 2))))
    if kind == 6:
        shortest = dice.randint(0, 20_000)
        return replace(query, shortest_ms=shortest, longest_ms=shortest + dice.randint(0, 20_000))
    if kind == 7:
        return replace(query, entities=tuple(dice.sample(list(PiiKind), 2)))
    return replace(query, sources=tuple(dice.sample(list(CallSourceKind), dice.randint(1, 2))))


def _question(dice: random.Random, depth: int) -> str:
    if depth == 0:
        return _term(dice)
    parts = [_question(dice, depth - 1) for _ in range(dice.randint(2, 3))]
    joined = dice.choice((" ", " AND ", " OR ", " NOT ", " OR NOT ")).join(parts)
    return joined if dice.random() < 0.5 else f"{dice.choice(('', '', 'agent:', 'customer:', 'NOT '))}({joined})"


def _term(dice: random.Random) -> str:
    role = dice.choice(("", "", "", "agent:", "customer:", "mixed:"))
    kind = dice.randrange(10)
    if kind < 4:
        return role + dice.choice(_words())
    if kind < 6:
        return f'{role}"{dice.choice(_COMMON)} {dice.choice((*_words(), *_COMMON))}"'
    if kind == 6:
        return role + dice.choice(_ODD)
    if kind == 7:
        return dice.choice(
            ("quux", "archer", "o'neill", "FIN-GUARANTEE", '"title of rec consent"', "sip:ann@pbx.example")
        )
    if kind == 8:
        return f"-{dice.choice(_words())}"
    return role + dice.choice(_COMMON)


def prefix_queries() -> Sequence[str]:
    """Beginnings of words, alone, in phrases and with roles; some end where a stemmer would change them."""
    return (
        "refun*", "refunded*", "guarant*", "guarantees*", "happ*", "happy*", "happyl*", "polic*", "policy*", "univers*",
        "universit*", "g*", "ca*", "zo*", "agent:refun*", "customer:cancell*", '"the refun"*', '"please cancel"*',
        'agent:"you pay"*', "refun* -guaranteed", "can't*", "card_num*", "is*", "ti*", "lyin*", "organi*",
        "(pol* OR law*) ra*",
    )  # fmt: skip
