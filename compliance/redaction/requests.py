"""What the talk is about: "what is your card number", "the three digits on the back", "my phone number is".

A request gives digits that follow, on either leg, their meaning. Requests of the other party count as much as the
speaker's own words; benign requests ("order number") end a sensitive one that was answered.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from compliance.redaction.spans import Conversation, LegWords
from events.transcript import PiiKind


@dataclass(frozen=True, slots=True)
class Request:
    """Mention of a kind of value. `kind` None means a harmless number, NUMBER a secret one without a kind."""

    kind: PiiKind | None
    strong: bool
    """The value itself is asked for or announced; otherwise only the thing was mentioned ("my credit card")."""
    leg: int
    first: int
    last: int
    start_ms: int
    end_ms: int
    again: bool = False
    """"Let me read that back": the last sensitive kind comes once more."""


_CVV: Final = (
    r"c v v|cvv2?|c v c|cvc|c v n|(?:card )?(?<!social )security (?:code|number)s?|"
    r"(?:card )?verification (?:code|number|value)s?|"
    r"card code|c i d|(?:three|four|3|4) ?(?:digit|digits|number|numbers)(?: \w+){0,4} back|"
    r"(?:three|four) digit (?:code|number|security|verification|pin)|(?:code|number|numbers|digits) on the back|"
    r"(?:back|reverse) of (?:the|your|my|that) card|last three digits|little (?:code|number)|three digits"
)
_CARD: Final = (
    r"(?:credit|debit|charge|visa|mastercard|bank)? ?card(?:'s)? (?:number|details|information|info|digits)|"
    r"(?:number|numbers|digits)(?: \w+){0,3} (?:front of )?(?:the|your|my|that|this|a) (?:\w+ )?card|"
    r"(?:sixteen|fifteen|16|15) (?:digit|digits|numbers)|long (?:card )?number|p a n|card account|"
    r"(?:which|what|the) card (?:would|do|are|is|will)|(?:credit|debit) card please|full card|number for the card|"
    r"(?:last|first) (?:four|six) (?:digits |numbers )?(?:of|on)(?: \w+){0,2} card|"
    r"card (?:is|ends|ending|begins|starts)"
)
_CARD_WEAK: Final = (
    r"(?:credit|debit|charge|bank|gift|new|old|other|my|your|the|that|this|a) cards?|visa|mastercard|master card|"
    r"amex|american express|discover card|maestro"
)
_EXPIRY: Final = (
    r"expir(?:y|ation|es|e|ing|ed)(?: date)?|valid (?:through|thru|until|to|till)|good (?:through|thru|until|til|till)"
    r"|expo? date|month and (?:the )?year|x date"
)
_SSN: Final = (
    r"social security(?: number)?|(?:your|my|the|full|whole|of) social|s s n|ssn|tax ?payer id\w*|"
    r"tax (?:id|identification)(?: number)?|social number"
)
_PHONE: Final = (
    r"(?:tele)?phone numbers?|(?:cell|mobile|home|work|callback|call back|contact|fax|daytime|cellphone|office) "
    r"(?:phone )?numbers?|(?:best|good|right|better|alternate) (?:phone )?number|telephone|"
    r"(?:reach|call|text|ring|contact|dial) (?:you|me|him|her|us|them) (?:back )?(?:at|on)|my (?:cell|mobile|phone|"
    r"number) is|area code|your (?:cell|mobile|number)|number (?:to|can) (?:reach|call|we call|i call)(?: you)?|"
    r"calling from (?:the )?number|phone on file|my cell"
)
_EMAIL: Final = (
    r"e ?-?mail(?: address)?s?|mail (?:it|that|this) to|send (?:it|that|this) to (?:my|your) (?:e|inbox)"
)
_OTHER: Final = (
    r"account numbers?|routing(?: number)?|checking account(?: number)?|pin(?: number| code)?|p i n|pass ?code|"
    r"password|date of birth|birth ?(?:date|day)|d o b|when were you born|born(?: on| in)?|i ?ban|sort code|"
    r"(?:license|licence|passport|medicare|member|policy|insurance) (?:number|id|i d)|last four(?: digits)?|"
    r"(?:access|one time|secret|text(?:ed)?) code|mother's maiden"
)
_BENIGN: Final = (
    r"(?:order|reference|confirmation|case|ticket|tracking|flight|invoice|item|model|part|product|extension|room|"
    r"store|claim|serial|employee|badge|gate|version) (?:number|id|code)s?|(?:zip|postal|promo|discount|coupon|error) "
    r"?code|total|balance|amount|price|costs?|comes to|percent|appointment|ext(?:ension)?|order (?:is|was)"
)
_AGAIN: Final = (
    r"(?:read|repeat|say|confirm|verify|check|run)(?: \w+){0,2} (?:back|again|with you|once more)|let me (?:read|"
    r"repeat|confirm|verify|make sure)|"
    r"so (?:that's|that is|it's|i have|i've got)|i have (?:it )?as|did you say|you said|"
    r"i(?:'ve)? (?:got|have)"
)
_TABLE: Final[tuple[tuple[PiiKind | None, bool, bool, re.Pattern[str]], ...]] = tuple(
    (kind, strong, again, re.compile(rf"(?<= )(?:{pattern})(?= )"))
    for kind, strong, again, pattern in (
        (PiiKind.VERIFICATION_CODE, True, False, _CVV),
        (PiiKind.CARD_NUMBER, True, False, _CARD),
        (PiiKind.CARD_NUMBER, False, False, _CARD_WEAK),
        (PiiKind.CARD_EXPIRY, True, False, _EXPIRY),
        (PiiKind.SSN, True, False, _SSN),
        (PiiKind.PHONE_NUMBER, True, False, _PHONE),
        (PiiKind.EMAIL_ADDRESS, True, False, _EMAIL),
        (PiiKind.NUMBER, True, False, _OTHER),
        (None, False, False, _BENIGN),
        (None, False, True, _AGAIN),
    )
)


def find_requests(conversation: Conversation) -> list[Request]:
    """Return all requests of all legs, ordered by the time at which they were complete."""
    found = [request for words in conversation.legs.values() for request in _of_leg(words)]
    return sorted(found, key=lambda request: (request.end_ms, request.leg, request.first))


def _of_leg(words: LegWords) -> Iterator[Request]:
    text = f" {' '.join(words.texts)} "
    starts = [1, *accumulate((len(word) + 1 for word in words.texts), initial=1)][1:]
    taken: list[tuple[int, int]] = []
    for kind, strong, again, pattern in _TABLE:
        for match in pattern.finditer(text):
            first = bisect_right(starts, match.start()) - 1
            last = bisect_right(starts, match.end() - 1) - 1
            if any(first <= other_last and other_first <= last for other_first, other_last in taken):
                continue  # a graver reading of the same words stands
            taken.append((first, last))
            yield Request(kind, strong, words.leg, first, last, words.start_ms(first), words.end_ms(last), again)
