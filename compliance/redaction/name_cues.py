"""Where people say names: "my name is", "am i speaking with", "mister", "... speaking", or in answer to a question.

Recognised speech is lower case and has no commas, so a name shows by what stands around it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate
from typing import Final

from compliance.redaction.number_words import word_set
from compliance.redaction.spans import Conversation, LegWords


class Cue(Enum):
    OWN = auto()
    """The speaker's own name follows ("my name is")."""
    OWN_WEAK = auto()
    """It may follow ("this is", "i'm"): a name list must agree."""
    OTHER = auto()
    """Somebody's name follows ("the last name is", "the name on the card is")."""
    OTHER_WEAK = auto()
    """It may follow ("thank you", "hi", "calling for")."""
    TITLE = auto()
    """A family name follows ("mister")."""
    QUESTION = auto()
    """The other party is asked for a name."""


_PATTERNS: Final = (
    (
        Cue.QUESTION,
        r"(?:what(?:'s| is| was)?|may i (?:have|get|ask|take)|can i (?:have|get|take)|could i (?:have|get|take)|"
        r"(?:can|could|would) you (?:please )?(?:tell|give|confirm|verify|state|spell|repeat|provide)(?: me| us)?|"
        r"i(?:'ll| will)? (?:just )?need|get|have|confirm|verify|spell|and) (?:\w+ ){0,2}?"
        r"(?:your|the|that|account holder's|cardholder's|card holder's) (?:(?:first|last|full|middle|maiden|legal|"
        r"family|good|sur|mother's maiden|first and last) ?)*(?:name|surname|names)(?! is)|"
        r"your (?:(?:first|last|full|first and last) )?name please|who am i (?:speaking|talking) (?:with|to)|"
        r"who(?:'s| is) (?:this|calling|speaking)|name on the (?:card|account|policy|order|file)(?! is)|"
        r"spell (?:that|it|your name|the name)(?: for me)?",
    ),
    (
        Cue.OTHER,
        r"(?:(?:first|last|middle|maiden|full|family|husband's|wife's|son's|daughter's|mother's|father's|maiden) )+"
        r"name (?:is|was|as)|surname is|name on (?:the|my|that|this) \w+ is|(?:his|her|their) name(?:'s| is| was)|"
        r"under (?:the )?(?:name|last name) (?:of |is )?|name of|belongs to|(?:card|account|policy) ?holder is|"
        r"(?:my|his|her) (?:husband|wife|son|daughter|mother|father|brother|sister|partner|spouse) is",
    ),
    (
        Cue.OWN,
        r"my (?:\w+ )?name(?:'s| is)|(?<!last )(?<!first )(?<!whose )(?:the )?name(?:'s| is)|they call me|"
        r"you(?:'re| are) speaking (?:with|to)|you can call me",
    ),
    (
        Cue.TITLE,
        r"mister|mr|missus|mrs|miss|ms|doctor|dr|professor|madam|sir and madam",
    ),
    (
        Cue.OTHER_WEAK,
        r"(?:am i )?(?:speaking|talking) (?:with|to)|(?:speak|talk) (?:with|to)|is this|calling for|looking for|"
        r"thank you(?: so much| very much)?|thanks(?: so much| a lot)?|hi(?: there)?|hello|hey|dear|"
        r"good (?:morning|afternoon|evening)|okay|alright|all right|sorry|yes|well|bye|goodbye|welcome|appreciate it|"
        r"last name|first name|spell(?:ed|ing)?(?: it)?|ask for|asked for|spoke (?:with|to)|named|called|attention",
    ),
    (Cue.OWN_WEAK, r"this is|i'm|i am|it's|it is|that's|that is|call me|here is"),
)
_COMPILED: Final = tuple((cue, re.compile(rf"(?<= )(?:{pattern})(?= )")) for cue, pattern in _PATTERNS)

STOP: Final = word_set(
    "a about above again all almost already also always am an and any anyone anything are aren't around as ask "
    "asking at available away back bad be because been before being better between both bring but buy by bye "
    "call called calling can can't card cards check correct could day days did didn't do does doesn't doing "
    "don't done down each either else email even ever every everything exactly fine first for from get getting "
    "give glad go going gonna gone good got great had happy hard has have haven't having he hello help her "
    "here here's hey hi him his hold hope hoping how i i'd i'll i'm i've if in interested into is isn't it "
    "it's its just kind know last late let like little living located long look looking lot made make making "
    "man many maybe me mean more morning most much my name need needing never new nice no nobody none not "
    "nothing now number of off oh okay on one only open or order other our out over phone please pleased "
    "possible pretty problem quick quite ready really recorded regarding reporting right said same say saying "
    "see sent she should sick since sir so some somebody someone something sorry speak speaking spell spelled "
    "spelling still such sure take taking talk talking tell than thank thanks that that's the their them then "
    "there there's these they they're thing think this those through time tired to today tomorrow tonight too "
    "tried try trying two under until up upset us use used using very wait waiting want wanted wants was "
    "wasn't way we we're well went were weren't what what's when where which while who whose why will with "
    "without won't wondering work working would wouldn't wrong yeah year years yep yes yesterday yet you you'd "
    "you'll you're you've your yours zero account billing customer service support department office company "
    "supervisor manager representative agent team line bank insurance payment bill balance question questions "
    "issue ma'am madam anyway absolutely actually afraid also amazing awesome perfect wonderful excellent cool "
    "worries welcome bear happening calls recording quality may might must am pm dollars percent hundred "
    "thousand minute minutes second moment week weeks month months three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty "
    "sixty seventy eighty ninety double triple dot underscore dash uh um er hmm mm mhm uh-huh huh ah eh"
)
"""Words that nobody's name is made of, and that end a name."""

ANSWER_MS: Final = 12_000
"""How long after a question for a name the answer may begin."""


@dataclass(frozen=True, slots=True)
class CueAt:
    """A cue in a leg's words; `last` is its last word."""

    cue: Cue
    first: int
    last: int


def find_cues(words: LegWords) -> list[CueAt]:
    """Return the cues of a leg in order. Where two overlap the earlier of the table stands."""
    return list(_cues(words))


def _cues(words: LegWords) -> Iterator[CueAt]:
    text = f" {' '.join(words.texts)} "
    starts = [1, *accumulate((len(word) + 1 for word in words.texts), initial=1)][1:]
    taken: set[int] = set()
    for cue, pattern in _COMPILED:
        for match in pattern.finditer(text):
            first = bisect_right(starts, match.start()) - 1
            last = bisect_right(starts, match.end() - 1) - 1
            if taken.isdisjoint(range(first, last + 1)):
                taken.update(range(first, last + 1))
                yield CueAt(cue, first, last)


def answers(conversation: Conversation) -> Iterator[tuple[int, int, int]]:
    """Return (leg, first word, last word) of what each leg said right after a question for a name.

    An answer is the rest of the first segment that starts after the question, on another leg, or on the same one
    where it carries both parties.
    """
    for asking, words in conversation.legs.items():
        for cue in find_cues(words):
            if cue.cue is not Cue.QUESTION:
                continue
            asked_ms = words.end_ms(cue.last)
            for leg, others in conversation.legs.items():
                if leg == asking and len(conversation.legs) > 1:
                    continue
                first = next(
                    (
                        index
                        for index, heard in enumerate(others.heard)
                        if heard.word.end_ms > asked_ms and heard.index == 0
                    ),
                    None,
                )
                if first is None or others.start_ms(first) - asked_ms > ANSWER_MS:
                    continue
                last = first
                while (
                    last + 1 < len(others.heard) and others.heard[last + 1].segment == others.heard[first].segment
                ):
                    last += 1
                yield leg, first, last


def places_near_names(conversation: Conversation, leg: int) -> set[int]:
    """Return the words that may be a name by their place: close behind a cue, or in answer to a question."""
    strong = (Cue.OWN, Cue.OTHER, Cue.TITLE, Cue.QUESTION, Cue.OWN_WEAK)
    near = {
        index
        for cue in find_cues(conversation.legs[leg])
        if cue.cue in strong
        for index in range(cue.last + 1, cue.last + 5)
    }
    for where, first, last in answers(conversation):
        if where == leg:
            near.update(range(first, last + 1))
    return near
