"""Numbers as people give them: over several runs, turns and both legs, in answer to a request or unasked.

Requests and runs of all legs are read in the order in which they were said. Runs that go on with a number make a
session; the session's request and its count of digits say what it is. Luhn is evidence for a pattern recogniser,
never a condition here: one recognition error breaks it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from compliance.redaction import number_words as vocabulary
from compliance.redaction.digit_runs import Run, find_runs, intended_digits
from compliance.redaction.requests import Request, find_requests
from compliance.redaction.settings import RedactionSettings, Strength
from compliance.redaction.spans import Conversation
from events.transcript import PiiKind

_ENOUGH: Final = {
    PiiKind.CARD_NUMBER: 13,
    PiiKind.VERIFICATION_CODE: 3,
    PiiKind.CARD_EXPIRY: 3,
    PiiKind.SSN: 9,
    PiiKind.PHONE_NUMBER: 7,
    PiiKind.NUMBER: 4,
}
"""Digits after which a request counts as answered."""
_ASKED_TOGETHER_MS: Final = 8_000
_PATIENCE_MS: Final = 20_000
"""How long the next part of a number that was asked for may take."""
_CLOSE_MS: Final = 3_000
_MOST_WORDS_BETWEEN: Final = 6


@dataclass(slots=True)
class Context:
    """Requests in force."""

    request: Request
    kinds: set[PiiKind]
    strong: bool
    last_ms: int
    again: bool = False
    digits: int = 0

    @property
    def answered(self) -> bool:
        return self.digits >= max(_ENOUGH.get(kind, 4) for kind in self.kinds)


@dataclass(slots=True)
class Session:
    """Runs that give one number."""

    runs: list[Run]
    context: Context | None
    last_ms: int
    after_card: bool = False
    """A card number was read out shortly before, and nothing harmless was announced: may be its code."""
    kind: PiiKind | None = None
    """What is hidden; None when nothing is."""
    decided: bool = False
    """Later words cannot change what is hidden."""

    def digits(self, plain_only: bool = False) -> int:
        """Return how many digits the party that said most of them has said."""
        by_leg: dict[int, int] = {}
        for run in self.runs:
            if run.plain or not (plain_only or run.quantity):
                by_leg[run.leg] = by_leg.get(run.leg, 0) + len(run.digits)
        return max(by_leg.values(), default=0)

    def meant(self) -> int:
        """Return how many digits the number has when what was corrected is left out."""
        by_leg: dict[int, int] = {}
        for run in self.runs:
            if not run.quantity:
                by_leg[run.leg] = by_leg.get(run.leg, 0) + len(intended_digits(run))
        return max(by_leg.values(), default=0)

    def values(self) -> Iterator[str]:
        """Return the number as each leg said it, whole and as meant."""
        for leg in {run.leg for run in self.runs}:
            yield "".join(run.digits for run in self.runs if run.leg == leg)
            yield "".join(intended_digits(run) for run in self.runs if run.leg == leg)


@dataclass(slots=True)
class _Reader:
    settings: RedactionSettings
    said: list[int]
    """Start times of all words that are more than "uh huh", sorted."""
    context: Context | None = None
    last_named: set[PiiKind] = field(default_factory=set)
    card_ms: int | None = None
    """When the last digit of a card number was said."""
    harmless: Request | None = None
    """The last announcement of a harmless number."""
    current: Session | None = None
    sessions: list[Session] = field(default_factory=list)

    def take_request(self, request: Request) -> None:
        context = self.context
        if request.again:
            if self.last_named and (context is None or context.answered):
                self.context = Context(request, set(self.last_named), False, request.end_ms, again=True)
            return
        if request.kind is None:
            self.harmless = request
            if context is not None and context.answered:
                self.context = None
            return
        if request.kind is PiiKind.EMAIL_ADDRESS:
            if context is None or context.answered or not context.strong:
                self.context = None
            return
        if not request.strong:
            if context is None or not context.strong:
                self.context = Context(request, {request.kind}, False, request.end_ms)
            return
        together = (
            context is not None
            and context.strong
            and context.request.leg == request.leg
            and not context.digits
            and request.start_ms - context.last_ms <= _ASKED_TOGETHER_MS
        )
        if together:
            assert context is not None
            context.kinds.add(request.kind)
            context.last_ms = request.end_ms
        elif context is not None and context.strong and context.kinds == {request.kind} and not context.answered:
            context.last_ms = request.end_ms
        else:
            self.context = Context(request, {request.kind}, True, request.end_ms)

    def take_run(self, run: Run) -> None:
        context = self.context
        if context is not None and run.start_ms - context.last_ms > self.settings.context_ms:
            context = self.context = None
        if context is not None and context.strong and not context.answered and len(run.groups) >= 2:
            run.quantity = False  # "sixty five forty three dollars" is no amount while a number is awaited
        session = self.current
        if session is not None and self._goes_on(session, run):
            session.runs.append(run)
        else:
            session = self._begun(run)
            if session is None:
                return
        session.last_ms = max(session.last_ms, run.end_ms)
        if context is not None and session.context is context and not run.quantity:
            context.digits = max(context.digits, session.digits())
            context.last_ms = max(context.last_ms, run.end_ms)
            if context.strong:
                self.last_named = set(context.kinds)
                if PiiKind.CARD_NUMBER in context.kinds:
                    self.card_ms = run.end_ms
        if session.digits(plain_only=True) >= _ENOUGH[PiiKind.CARD_NUMBER] - 1:
            self.last_named = {PiiKind.CARD_NUMBER}
            self.card_ms = run.end_ms

    def _begun(self, run: Run) -> Session | None:
        """Start a session, or leave the run by itself when it cannot be the beginning of a number."""
        if run.weak and not (run.alone and len(run.groups) >= 2):
            return None
        strong = self.context is not None and self.context.strong
        if run.quantity and not strong:
            return None
        announced = self.harmless is not None and (
            self.harmless.leg == run.leg and 0 < run.first - self.harmless.last <= _MOST_WORDS_BETWEEN
        )
        after_card = (
            self.card_ms is not None
            and 0 <= run.start_ms - self.card_ms <= self.settings.window_ms
            and not announced
        )
        session = Session([run], self.context, run.end_ms, after_card)
        self.sessions.append(session)
        alive = self.current is not None and run.start_ms - self.current.last_ms <= self.settings.link_ms
        if run.plain or run.alone or strong or not alive:
            self.current = session
        return session

    def _goes_on(self, session: Session, run: Run) -> bool:
        if session.context is not self.context:
            return False
        context = self.context
        waiting = context is not None and context.strong and not context.answered
        gap_ms = run.start_ms - session.last_ms
        if gap_ms > (_PATIENCE_MS if waiting else self.settings.link_ms):
            return False
        words = bisect_left(self.said, run.start_ms) - bisect_left(self.said, session.last_ms)
        if words > _MOST_WORDS_BETWEEN and not waiting:
            return False
        if run.plain:
            return True
        begun = session.digits(plain_only=True) >= 2 or (waiting and session.digits() >= 1)
        close = gap_ms <= _CLOSE_MS and words <= 2
        if run.quantity:
            whole = session.digits() >= _ENOUGH[PiiKind.CARD_NUMBER] or (context is not None and context.answered)
            return begun and not whole and run.leg == session.runs[-1].leg and (run.short or close)
        if run.weak:
            return begun and (run.alone or run.short)
        return waiting or run.alone or run.tail or (begun and (close or run.short))


def read_sessions(
    conversation: Conversation, settings: RedactionSettings, known: Iterable[tuple[PiiKind, str]] = ()
) -> list[Session]:
    """Return the sessions of a conversation with their kinds.

    Parameters
    ----------
    known
        Values that were hidden before in this call; who reads one back, wholly or in part, is hidden too.
    """
    runs = [run for words in conversation.legs.values() for run in find_runs(words)]
    requests = find_requests(conversation)
    runs = [run for run in runs if not _is_in(requests, run)]
    reader = _Reader(settings, _substantial_words(conversation, runs))
    said: list[Request | Run] = [*requests, *runs]
    for item in sorted(said, key=_said_at):
        if isinstance(item, Request):
            reader.take_request(item)
        else:
            reader.take_run(item)
    named_after = [request for request in requests if request.strong and request.kind is not None]
    values = list(known)
    for session in reader.sessions:
        _name(session, settings, named_after)
        if session.kind is not None:
            values.extend((session.kind, value) for value in session.values() if len(value) >= 3)
    for session in reader.sessions:
        if session.kind in (None, PiiKind.NUMBER):
            _name_by_value(session, values)
    return reader.sessions


def _said_at(item: Request | Run) -> tuple[int, bool, int, int]:
    """Order requests, by when they were complete, before runs that begin at that time."""
    if isinstance(item, Request):
        return item.end_ms, False, item.leg, item.first
    return item.start_ms, True, item.leg, item.first


def _is_in(requests: Sequence[Request], run: Run) -> bool:
    """Is the number a part of a request ("the three digits on the back")?"""
    return any(
        request.leg == run.leg and request.first <= run.first and run.last <= request.last for request in requests
    )


def _substantial_words(conversation: Conversation, runs: Sequence[Run]) -> list[int]:
    in_runs = {(run.leg, index) for run in runs for index in range(run.first, run.last + 1)}
    return sorted(
        heard.word.start_ms
        for leg, words in conversation.legs.items()
        for index, heard in enumerate(words.heard)
        if heard.text not in vocabulary.BACKCHANNEL and (leg, index) not in in_runs
    )


def _name(session: Session, settings: RedactionSettings, requests: Sequence[Request]) -> None:
    """Decide what the session's number is."""
    context = session.context
    digits = session.digits()
    read_out = session.digits(plain_only=True)
    alone = any((run.alone or run.short) and not run.weak and not run.quantity for run in session.runs)
    if context is None or not context.strong:
        after = _named_afterwards(session, requests)
        if after is not None and digits >= 2:
            session.kind, session.decided = after, True
            return
    if context is not None and context.strong:
        kind = _among(context.kinds, session.meant())
        if digits >= 2 or alone or (digits and kind is PiiKind.VERIFICATION_CODE):
            session.kind, session.decided = kind, True
        return
    if context is not None and context.again and (read_out >= 2 or alone):
        session.kind = _among(context.kinds, session.meant())
    elif (context is not None and PiiKind.CARD_NUMBER in context.kinds and read_out >= 4) or read_out >= 12:
        session.kind = PiiKind.CARD_NUMBER
    elif read_out in (10, 11):
        session.kind = PiiKind.PHONE_NUMBER
    elif session.after_card and read_out in (3, 4):
        session.kind = PiiKind.VERIFICATION_CODE
    elif read_out >= 9 or (
        settings.strength != Strength.VALUES
        and (read_out >= settings.probable_digits or (read_out == 3 and alone))
    ):
        session.kind = PiiKind.NUMBER


def _among(kinds: set[PiiKind], digits: int) -> PiiKind:
    """Choose among the kinds that were asked for by the number of digits; many digits are a card anyway."""
    if digits >= (12 if PiiKind.CARD_NUMBER in kinds else 13):
        return PiiKind.CARD_NUMBER
    if len(kinds) == 1:
        return next(iter(kinds))
    by_digits = (
        (PiiKind.VERIFICATION_CODE, range(3, 5)),
        (PiiKind.CARD_EXPIRY, range(3, 7)),
        (PiiKind.PHONE_NUMBER, range(10, 12)),
        (PiiKind.SSN, range(4, 10)),
        (PiiKind.CARD_NUMBER, range(1, 20)),
    )
    return next((kind for kind, counts in by_digits if kind in kinds and digits in counts), min(kinds))


def _named_afterwards(session: Session, requests: Sequence[Request]) -> PiiKind | None:
    """Tell "one two three is the security code"."""
    last = session.runs[-1]
    for request in requests:
        if request.leg == last.leg and 1 <= request.first - last.last <= 4 and request.kind is not None:
            return request.kind if request.start_ms - last.end_ms <= _CLOSE_MS else None
    return None


def _name_by_value(session: Session, values: Sequence[tuple[PiiKind, str]]) -> None:
    """Hide what repeats (part of) a value that is hidden elsewhere."""
    for said in {*session.values()}:
        if len(said) < 3:
            continue
        for kind, value in values:
            if kind is not PiiKind.NUMBER and _contains(value, said):
                session.kind = kind
                return


def _contains(value: str, part: str) -> bool:
    """Is `part` in `value`, with at most one digit wrong when it has five or more?"""
    if part in value:
        return True
    if len(part) < 5:
        return False
    return any(
        sum(one != other for one, other in zip(value[start:], part, strict=False)) <= 1
        for start in range(len(value) - len(part) + 1)
    )
