"""Finder of people's names in lower-case speech: by cues, by a list of names, and by having been said before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from compliance.redaction.memory import Memory
from compliance.redaction.name_cues import STOP, Cue, CueAt, answers, find_cues
from compliance.redaction.number_words import word_set
from compliance.redaction.settings import RedactionSettings
from compliance.redaction.spans import Conversation, Findings, Hit, LegWords
from events.identity import Role
from events.transcript import PiiKind

_LONGEST: Final = 3
"""Words in a name."""
_CUE_GAP_MS: Final = 6_000
_INTRODUCED_BY: Final = word_set("with from speaking calling here at and how in")
"""What follows an agent's name in "this is kevin from ...": without it, "this is john smith" may be the customer."""
_SHORT_ANSWER: Final = 4
_UNSURE: Final = 0.6
"""Behind a strong cue a word of less confidence is taken for a misheard name whatever it is ("my called brown")."""
_WEAK: Final = (Cue.OWN_WEAK, Cue.OTHER_WEAK)


@dataclass(frozen=True, slots=True)
class NameLists:
    first: frozenset[str]
    last: frozenset[str]
    also_words: frozenset[str]

    def holds(self, text: str) -> bool:
        """Is it somebody's name, perhaps besides being a word? Possessives count."""
        text = text.removesuffix("'s")
        return text in self.first or text in self.last

    def is_certain(self, text: str) -> bool:
        """Is it a name and no word?"""
        text = text.removesuffix("'s")
        return text not in self.also_words and text not in STOP and self.holds(text)


@cache
def name_lists() -> NameLists:
    """Read the lists that are committed beside this file; each says where it comes from."""
    return NameLists(*(_read(name) for name in ("first_names.txt", "last_names.txt", "also_words.txt")))


def _read(name: str) -> frozenset[str]:
    text = resources.files("compliance.redaction").joinpath(name).read_text(encoding="utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())


class NameFinder:
    name: Final = "names"

    def __init__(self, settings: RedactionSettings) -> None:
        self._settings = settings
        self._lists = name_lists()

    def find(self, conversation: Conversation, memory: Memory) -> Findings:
        findings = Findings()
        if not self._settings.hides(PiiKind.PERSON_NAME):
            return findings
        hidden: dict[int, dict[int, float]] = {leg: {} for leg in conversation.legs}
        cues = [(words, cue) for words in conversation.legs.values() for cue in find_cues(words)]
        for words, cue in cues:
            self._introduced(words, cue, findings)
        kept = findings.agent_names | memory.agent_names
        for words, cue in cues:
            self._follow(words, cue, hidden[words.leg], kept, findings)
        for leg, words in conversation.legs.items():
            self._spoken_after(words, hidden[leg], findings)
        for leg, first, last in answers(conversation):
            self._answer(conversation.legs[leg], first, last, hidden[leg], findings)
        kept |= findings.agent_names
        names = {name for name in findings.names | memory.names if name not in self._lists.also_words}
        for leg, words in conversation.legs.items():
            self._anywhere(words, hidden[leg], kept, names)
            findings.hits.extend(
                Hit(PiiKind.PERSON_NAME, leg, index, index, score, self.name)
                for index, score in hidden[leg].items()
            )
        return findings

    def _introduced(self, words: LegWords, cue: CueAt, findings: Findings) -> None:
        """Note the names with which agents introduce themselves."""
        taken = self._behind(words, cue)
        if taken and self._is_agents_own(words, cue, taken):
            findings.agent_names.update(words.texts[index] for index in taken)

    def _follow(
        self, words: LegWords, cue: CueAt, hidden: dict[int, float], kept: set[str], findings: Findings
    ) -> None:
        """Hide the words behind a cue, as far as they can be a name."""
        taken = self._behind(words, cue, unsure=True)
        if not taken or self._is_agents_own(words, cue, taken):
            return
        weak = cue.cue in _WEAK
        if weak and kept.issuperset(words.texts[index] for index in taken):
            return
        for index in taken:
            hidden[index] = 0.7 if weak else 0.9
        if not weak:
            names = {words.texts[index].removesuffix("'s") for index in taken}
            findings.names.update(names - STOP)

    def _behind(self, words: LegWords, cue: CueAt, unsure: bool = False) -> list[int]:
        """Return the words behind a cue that it makes a name; with `unsure` also what may be a misheard one."""
        if cue.cue is Cue.QUESTION:
            return []
        weak = cue.cue in _WEAK
        longest = 2 if cue.cue is Cue.TITLE else _LONGEST
        unsure = unsure and cue.cue in (Cue.OWN, Cue.OTHER)
        taken = self._run(words, cue.last, longest, needs_list=weak, unsure=unsure)
        return [] if weak and taken and not self._convincing(words, taken) else taken

    def _run(
        self, words: LegWords, behind: int, longest: int, needs_list: bool, unsure: bool = False
    ) -> list[int]:
        """Return the words behind `behind` that may make up a name."""

        def misheard(index: int) -> bool:
            return unsure and words.heard[index].word.confidence < _UNSURE

        taken: list[int] = []
        index = behind + 1
        while (
            index < len(words.heard)
            and words.texts[index] in ("uh", "um", "er", "is", "like")
            and index - behind < 3
            and not misheard(index)
        ):
            index += 1
        while index < len(words.heard) and len(taken) < longest:
            text = words.texts[index]
            no_name = text in STOP or len(text) == 1 or not any(character.isalpha() for character in text)
            if no_name and not misheard(index):
                break
            if words.start_ms(index) - words.end_ms(index - 1) > _CUE_GAP_MS:
                break
            if needs_list and not self._lists.holds(text):
                break
            taken.append(index)
            index += 1
        return taken

    def _convincing(self, words: LegWords, taken: list[int]) -> bool:
        """Behind a weak cue, is it a name rather than a word that is also one ("i'm frank with you")?"""
        if any(self._lists.is_certain(words.texts[index]) for index in taken):
            return True
        following = words.texts[taken[-1] + 1 : taken[-1] + 2]
        return len(taken) >= 2 and words.texts[taken[0]] in self._lists.first and following != ["of"]

    def _is_agents_own(self, words: LegWords, cue: CueAt, taken: list[int]) -> bool:
        """Does an agent introduce itself?"""
        if not self._settings.keep_agent_names or words.role is not Role.AGENT:
            return False
        if cue.cue is Cue.OWN:
            text = " ".join(words.texts[cue.first : cue.last + 1])
            return text.startswith(("my ", "you", "they"))
        following = words.texts[taken[-1] + 1 : taken[-1] + 2]
        starts = words.texts[cue.first : cue.first + 2]
        own = starts in (["this", "is"], ["i", "am"]) or starts[:1] == ["i'm"]
        return cue.cue is Cue.OWN_WEAK and own and bool(_INTRODUCED_BY & set(following))

    def _spoken_after(self, words: LegWords, hidden: dict[int, float], findings: Findings) -> None:
        """Tell "jane doe speaking"."""
        for index, text in enumerate(words.texts):
            if text not in ("speaking", "here") or index == 0:
                continue
            taken = [
                before
                for before in range(max(0, index - 2), index)
                if self._lists.holds(words.texts[before]) and words.texts[before] not in STOP
            ]
            if not taken or taken[-1] != index - 1 or not self._convincing(words, taken):
                continue
            if self._settings.keep_agent_names and words.role is Role.AGENT:
                findings.agent_names.update(words.texts[before] for before in taken)
            else:
                hidden.update(dict.fromkeys(taken, 0.8))

    def _answer(
        self, words: LegWords, first: int, last: int, hidden: dict[int, float], findings: Findings
    ) -> None:
        """Hide the answer to a question for a name: all of a short one, the listed names of a long one."""
        candidates = [
            index
            for index in range(first, last + 1)
            if words.texts[index] not in STOP and len(words.texts[index]) > 1 and words.texts[index].isascii()
            and any(character.isalpha() for character in words.texts[index])
        ]  # fmt: skip
        if len(candidates) > _SHORT_ANSWER:
            candidates = [index for index in candidates if self._lists.holds(words.texts[index])]
        for index in candidates:
            hidden[index] = 0.85
        findings.names.update(words.texts[index] for index in candidates if self._lists.holds(words.texts[index]))

    def _anywhere(self, words: LegWords, hidden: dict[int, float], kept: Iterable[str], names: set[str]) -> None:
        """Hide names that need no cue: certain ones, pairs of given and family name, and those said before."""
        kept = set(kept)
        for index, text in enumerate(words.texts):
            if index in hidden or text in kept:
                continue
            bare = text.removesuffix("'s")
            if bare in names or self._lists.is_certain(text):
                hidden[index] = 0.6
        for index in range(len(words.texts) - 1):
            one, other = words.texts[index], words.texts[index + 1].removesuffix("'s")
            if one in kept or other in STOP or one in STOP:
                continue
            pair = one in self._lists.first and other in self._lists.last
            if pair and (self._lists.is_certain(one) or self._lists.is_certain(other)):
                hidden.setdefault(index, 0.7)
                hidden.setdefault(index + 1, 0.7)
