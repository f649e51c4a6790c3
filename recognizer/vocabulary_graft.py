"""Words and phrases put into a finished recognition graph, without building it again.

Each phrase becomes a path from every back-off state (:mod:`recognizer.vocabulary_entry_points`): its phones with the
durations of the acoustic model, optional silence between words as in L, and a cost of its own. A phrase that ends in
words of the graph joins the graph's own path of these words, where the language model goes on with their history; one
that ends in a new word goes back to the back-off state of its last phone. Phrases share their beginnings (a tree
of words, in each node a tree of phones); costs and words stand as early on the paths as they are certain, as the
determinised graph has them, so that the beam sees them in time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recognizer.graph import Graph
from recognizer.hmm_topology import HmmTopology
from recognizer.vocabulary_entry_points import KnownPath, KnownPaths, back_off_states
from recognizer.vocabulary_growth import NO_PAUSE, Growth, merged
from recognizer.vocabulary_settings import GraftSettings
from recognizer.vocabulary_unknown import UNKNOWN, grow_unknown

Phones = tuple[int, ...]


@dataclass(frozen=True)
class SpokenPhrase:
    """One phrase of a vocabulary, ready for the graph.

    Attributes
    ----------
    words : tuple of str
    pronunciations : tuple, per word, of tuple of phone labels
        Labels are one more than the place among the topology's phones. The first one of a word that the graph has
        should be one that the graph has.
    bonus : float
        By how much the phrase is cheaper than the language model, or the cost of new words, has it (natural
        logarithm).
    if_rare : bool
        Leave out a single word of the graph that is common anyway (``GraftSettings.common_cost``).
    """

    words: tuple[str, ...]
    pronunciations: tuple[tuple[Phones, ...], ...]
    bonus: float
    if_rare: bool = False


def graft(
    graph: Graph,
    topology: HmmTopology,
    phrases: Iterable[SpokenPhrase],
    settings: GraftSettings | None = None,
    bigrams: NDArray[np.float64] | None = None,
) -> Graph:
    """Return `graph` with `phrases` in it; its states keep their numbers and its words their ids.

    Parameters
    ----------
    graph : Graph
    topology : HmmTopology
    phrases : iterable of SpokenPhrase
    settings : GraftSettings, optional
    bigrams : float64[phones + 1, phones + 1], optional
        Of :func:`recognizer.vocabulary_unknown.phone_bigrams`; needed for unknown words, if the settings want them.

    Raises
    ------
    GraphError
        If the graph has no places for further words (:func:`back_off_states`).
    """
    given = settings or GraftSettings()
    entries = back_off_states(graph, topology)
    tree = _PhraseTree(graph, topology, entries, given)
    for phrase in phrases:
        tree.add(phrase)
    growth = Growth(graph.state_count, topology, entries)
    contexts = [(state, left, tree.root.cost) for left, state in entries.items()]
    _Planter(growth).plant(contexts, tree.root)
    if given.unknown_cost and bigrams is not None:
        grow_unknown(growth, entries, bigrams, tree.word(UNKNOWN), given.unknown_cost)
    return merged(graph, growth, tuple(tree.words))


@dataclass
class _Item:
    """One word said one way, and what comes behind: a node of the tree, a path of the graph, or backing off."""

    phones: Phones
    word: int
    cost: float
    after: _Node | KnownPath | None


@dataclass
class _Node:
    """Behind a beginning of phrases: the words that may follow."""

    items: dict[tuple[int, Phones, bool], _Item] = field(default_factory=dict)
    following: dict[int, _Node] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        return min((item.cost for item in self.items.values()), default=math.inf)


class _PhraseTree:
    def __init__(
        self, graph: Graph, topology: HmmTopology, entries: Mapping[int, int], settings: GraftSettings
    ) -> None:
        self.root = _Node()
        self.words = list(graph.words)
        self._known = len(graph.words)
        self._number = {word: i for i, word in enumerate(graph.words)}
        self._paths = KnownPaths(graph, topology, entries)
        self._settings = settings

    def word(self, text: str) -> int:
        number = self._number.get(text)
        if number is None:
            number = self._number[text] = len(self.words)
            self.words.append(text)
        return number

    def add(self, phrase: SpokenPhrase) -> None:
        words = [self.word(text) for text in phrase.words]
        spoken = phrase.pronunciations
        node, nodes = self.root, [self.root]
        for word in words[:-1]:
            node = node.following.setdefault(word, _Node())
            nodes.append(node)
        least = math.inf
        for last in spoken[-1]:
            cost, after = self._end(words, spoken, last)
            if phrase.if_rare and len(words) == 1 and cost < self._settings.common_cost:
                return
            cost = max(self._settings.least_cost, cost - phrase.bonus)
            least = min(least, cost)
            key = (words[-1], last, False)
            old = node.items.get(key)
            if old is None or old.cost > cost:
                node.items[key] = _Item(last, words[-1], cost, after)
        for place in range(len(words) - 2, -1, -1):
            for phones in spoken[place]:
                key = (words[place], phones, True)
                old = nodes[place].items.get(key)
                if old is None or old.cost > least:
                    nodes[place].items[key] = _Item(phones, words[place], least, nodes[place + 1])

    def _end(
        self, words: list[int], variants: tuple[tuple[Phones, ...], ...], last: Phones
    ) -> tuple[float, KnownPath | None]:
        """Cost of the whole phrase, and where the graph's own path of its last words leads."""
        spoken = [*(one[0] for one in variants[:-1]), last]
        cost, path, run = 0.0, None, 0
        for place in range(len(words) + 1):
            if place < len(words) and words[place] < self._known:
                continue
            if place > run:
                path = self._paths.path(words[run:place], spoken[run:place])
                if path is None:
                    # A pronunciation that the graph lacks costs what those cost that it has.
                    usual = self._paths.path(words[run:place], [one[0] for one in variants[run:place]])
                    cost += (place - run) * self._settings.new_word_cost if usual is None else usual.cost
                else:
                    cost += path.cost
            if place < len(words):
                cost, path = cost + self._settings.new_word_cost, None
            run = place + 1
        # The frames of a single phone depend on what was before it, and so does a state that hears them.
        return cost, None if path is not None and path.by_frame and len(last) == 1 else path


@dataclass
class _Stem:
    """A beginning of pronunciations within one node of the phrase tree."""

    cost: float = math.inf
    words: set[int] = field(default_factory=set)
    ends: list[_Item] = field(default_factory=list)
    longer: dict[int, _Stem] = field(default_factory=dict)


class _Planter:
    """Grows a tree of phrases out of a graph."""

    def __init__(self, growth: Growth) -> None:
        self._growth = growth

    def plant(self, contexts: Sequence[tuple[int, int, float]], node: _Node) -> None:
        """Grow the words of `node` out of states: (state, left phone, cost of leaving the state)."""
        stem = _Stem()
        for item in node.items.values():
            here = stem
            here.cost = min(here.cost, item.cost)
            for phone in item.phones:
                here = here.longer.setdefault(phone, _Stem())
                here.cost = min(here.cost, item.cost)
                here.words.add(item.word)
            here.ends.append(item)
        joints: dict[tuple[int, int], int] = {}
        waiting = [(stem, list(contexts), False)]
        while waiting:
            stem, sources, told = waiting.pop()
            for phone, longer in stem.longer.items():
                word = next(iter(longer.words)) if not told and len(longer.words) == 1 else 0
                heads = self._phone(sources, phone, longer, longer.cost - stem.cost, word, told)
                if not heads:
                    continue
                knows = told or word != 0
                for item in longer.ends:
                    self._end(heads, phone, item, item.cost - longer.cost, 0 if knows else item.word, joints)
                if longer.longer:
                    waiting.append((longer, heads, knows))

    def _phone(
        self,
        sources: Sequence[tuple[int, int, float]],
        phone: int,
        stem: _Stem,
        cost: float,
        word: int,
        told: bool,
    ) -> list[tuple[int, int, float]]:
        """Append one phone behind `sources`: a state per leaf that it has there. Paths of the graph are joined here."""
        joined = [item for item in stem.ends if self._joins(item)]
        own = bool(stem.longer) or len(joined) < len(stem.ends)
        heads: dict[int, int] = {}
        for source, left, leaving in sources:
            leaf = self._growth.leaf_of(left, phone)
            for item in joined:
                assert isinstance(item.after, KnownPath)
                said = item.word if not told else 0
                weight = leaving + cost + item.cost - stem.cost
                self._growth.add(source, item.after.state, 2 * leaf, said, weight)
            if own:
                if leaf not in heads:
                    heads[leaf] = self._growth.looping(leaf)
                self._growth.add(source, heads[leaf], 2 * leaf, word, leaving + cost)
        return [(state, phone, self._growth.leaving(leaf)) for leaf, state in heads.items()]

    @staticmethod
    def _joins(item: _Item) -> bool:
        return isinstance(item.after, KnownPath) and item.after.by_frame

    def _end(
        self,
        heads: Sequence[tuple[int, int, float]],
        phone: int,
        item: _Item,
        cost: float,
        word: int,
        joints: dict[tuple[int, int], int],
    ) -> None:
        if self._joins(item):
            return
        if isinstance(item.after, KnownPath):
            behind = item.after.state
        elif item.after is None:
            behind = self._growth.exit(phone)
        else:
            key = (id(item.after), phone)
            if key not in joints:
                joints[key] = self._growth.new_state()
                silence = self._growth.silence(joints[key], phone)
                self.plant([(joints[key], phone, NO_PAUSE), silence], item.after)
            behind = joints[key]
        for state, _, leaving in heads:
            self._growth.add(state, behind, -1, word, leaving + cost)
