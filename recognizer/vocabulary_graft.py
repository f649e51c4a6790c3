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

from recognizer.grammar_fst import SILENCE_PROBABILITY
from recognizer.graph import ARC, STATE, Graph
from recognizer.hmm_topology import NO_PHONE, HmmTopology
from recognizer.vocabulary_entry_points import KnownPath, KnownPaths, back_off_states
from recognizer.vocabulary_settings import GraftSettings

_SILENCE = 1
_PAUSE = -math.log(SILENCE_PROBABILITY)
_NO_PAUSE = -math.log1p(-SILENCE_PROBABILITY)

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
    graph: Graph, topology: HmmTopology, phrases: Iterable[SpokenPhrase], settings: GraftSettings | None = None
) -> Graph:
    """Return `graph` with `phrases` in it; its states keep their numbers and its words their ids.

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
    growth = _Growth(graph.state_count, topology, entries)
    growth.plant([(state, left, tree.root.cost) for left, state in entries.items()], tree.root)
    return _merged(graph, growth, tuple(tree.words))


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

    def _word(self, text: str) -> int:
        number = self._number.get(text)
        if number is None:
            number = self._number[text] = len(self.words)
            self.words.append(text)
        return number

    def add(self, phrase: SpokenPhrase) -> None:
        words = [self._word(text) for text in phrase.words]
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


class _Growth:
    """States and arcs to append to a graph. States are numbered from `first`; arcs may leave older states too."""

    def __init__(self, first: int, topology: HmmTopology, entries: Mapping[int, int]) -> None:
        self.states = first
        self.arcs: list[tuple[int, int, int, int, float]] = []
        """Source, target, pdf, word, weight."""
        self._leaf = topology.leaf.astype(np.int64)
        self._stay = (-np.log(topology.self_loop.astype(np.float64))).tolist()
        self._leave = (-np.log1p(-topology.self_loop.astype(np.float64))).tolist()
        self._entries = entries
        self._exits: dict[int, int] = {}
        self._silences: dict[tuple[int, int], int] = {}

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
            leaf = int(self._leaf[left, phone])
            for item in joined:
                assert isinstance(item.after, KnownPath)
                said = item.word if not told else 0
                weight = leaving + cost + item.cost - stem.cost
                self.arcs.append((source, item.after.state, 2 * leaf, said, weight))
            if own:
                if leaf not in heads:
                    heads[leaf] = self._looping(leaf)
                self.arcs.append((source, heads[leaf], 2 * leaf, word, leaving + cost))
        return [(state, phone, self._leave[leaf]) for leaf, state in heads.items()]

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
            behind = self._exit(phone)
        else:
            key = (id(item.after), phone)
            if key not in joints:
                joints[key] = self._new_state()
                silence = self._silence(joints[key], phone)
                self.plant([(joints[key], phone, _NO_PAUSE), silence], item.after)
            behind = joints[key]
        for state, _, leaving in heads:
            self.arcs.append((state, behind, -1, word, leaving + cost))

    def _new_state(self) -> int:
        self.states += 1
        return self.states - 1

    def _looping(self, leaf: int) -> int:
        state = self._new_state()
        self.arcs.append((state, state, 2 * leaf + 1, 0, self._stay[leaf]))
        return state

    def _silence(self, source: int, left: int) -> tuple[int, int, float]:
        leaf = int(self._leaf[left, _SILENCE])
        state = self._looping(leaf)
        self.arcs.append((source, state, 2 * leaf, 0, _PAUSE))
        return state, _SILENCE, self._leave[leaf]

    def _exit(self, phone: int) -> int:
        """Return the state behind a new word that ends in `phone`: it leads, with or without pause, to the back-off."""
        if phone not in self._exits:
            self._exits[phone] = state = self._new_state()
            entry = self._entries.get(phone, self._likest(phone))
            self.arcs.append((state, entry, -1, 0, _NO_PAUSE))
            if _SILENCE in self._entries:
                paused, _, leaving = self._silence(state, phone)
                self.arcs.append((paused, self._entries[_SILENCE], -1, 0, leaving))
        return self._exits[phone]

    def _likest(self, phone: int) -> int:
        """Back-off state of the phone that sounds most like `phone` to its right neighbours: none ends so in L."""
        lefts = [left for left in self._entries if left != NO_PHONE]
        alike = [int((self._leaf[left, 1:] == self._leaf[phone, 1:]).sum()) for left in lefts]
        return self._entries[lefts[int(np.argmax(alike))]]


def _merged(graph: Graph, growth: _Growth, words: tuple[str, ...]) -> Graph:
    """One pair of arrays: further arcs of old states stand behind their others, new states behind the old ones."""
    base = graph.state_count
    columns = np.array(growth.arcs, np.float64).reshape(len(growth.arcs), 5)
    source = columns[:, 0].astype(np.int64)
    order = np.lexsort((columns[:, 2], source))
    columns, source = columns[order], source[order]
    arcs = np.zeros(len(order), ARC)
    arcs["next"], arcs["pdf"], arcs["word"], arcs["weight"] = (
        columns[:, 1], columns[:, 2], columns[:, 3], columns[:, 4],
    )  # fmt: skip
    further = int(np.searchsorted(source, base))
    at = graph.states["first"][source[:further] + 1]
    added = np.bincount(source, minlength=growth.states)
    epsilons = np.bincount(source[columns[:, 2] < 0], minlength=growth.states)
    states = np.zeros(growth.states + 1, STATE)
    states["final"] = np.inf
    states["final"][:base] = graph.states["final"][:base]
    moved = np.concatenate([[0], np.cumsum(added)])
    states["first"][: base + 1] = graph.states["first"] + moved[: base + 1]
    states["first"][base:] = len(graph.arcs) + moved[base:]
    states["emitting"][:base] = graph.states["emitting"][:base] + moved[:base]
    states["emitting"][base:-1] = states["first"][base:-1] + epsilons[base:]
    states["emitting"][-1] = states["first"][-1]
    merged = np.concatenate([np.insert(graph.arcs, at, arcs[:further]), arcs[further:]])
    return Graph(states, merged, graph.start, graph.pdfs, graph.silence_pdfs, words)
