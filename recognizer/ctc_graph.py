"""The recognition graph of a CTC model, T o L o G, in the same flat form as any other: the search needs no change.

L spells words in tokens, G is the language model; both are composed, determinised and minimised (kaldifst). T, which
lets a token last and blanks lie between tokens, is laid over the result in numpy (:func:`add_ctc_topology`): a state
"inside a token" per state and token that leads to it, and one "behind a blank" per state. That is the compact CTC
topology (Laptev et al., "CTC variations through new WFST topologies", 2022) with the one rule that it gives up kept:
between two equal tokens there must be a blank.

The ``pdf`` of an arc is the column of the model's output. Blank counts as silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.ctc_tokens import Spellings
from recognizer.flat_fst import FlatFst
from recognizer.grammar_fst import build_grammar
from recognizer.graph import Graph, graph_from_arcs
from recognizer.language_model import FIRST_WORD, LanguageModel

Int64 = NDArray[np.int64]

STEPS: Final = ("grammar and spellings", "compose", "determinise", "minimise", "minimise again")
_FEW_ARCS: Final = 3
"""A state with so few arcs gives copies of them to its tokens, which spares the search an arc without input."""


def build_spelled_grammar(
    model: LanguageModel,
    spellings: Spellings,
    columns: int,
    progress: Callable[[str], None] = lambda step: None,
) -> FlatFst:
    """Return L o G without T: input labels are column + 1, output labels are word ids. Needs kaldifst.

    Parameters
    ----------
    model : LanguageModel
        Every word of it must be in `spellings`.
    spellings : mapping of str to columns
    columns : int
        Of the model's output, blank included.
    progress : callable
        Called with the name of each step (one of ``STEPS``) before it starts.
    """
    import kaldifst

    progress(STEPS[0])
    lexicon_fst = build_spellings(model.words, spellings, columns).to_kaldifst()
    grammar_fst = build_grammar(model).to_kaldifst()
    kaldifst.arcsort(lexicon_fst, "olabel")
    progress(STEPS[1])
    fst = kaldifst.StdVectorFst(kaldifst.compose(lexicon_fst, grammar_fst))
    del lexicon_fst, grammar_fst
    progress(STEPS[2])
    kaldifst.determinize_star(fst, use_log=True)
    progress(STEPS[3])
    kaldifst.minimize_encoded(fst)
    flat = FlatFst.from_kaldifst(fst)
    progress(STEPS[4])
    fst = replace(flat, input=np.where(flat.input > columns, 0, flat.input)).to_kaldifst()
    kaldifst.minimize_encoded(fst)
    return FlatFst.from_kaldifst(fst)


def build_spellings(words: Sequence[str], spellings: Spellings, columns: int) -> FlatFst:
    """Return L: tokens (column + 1) to words, with disambiguation symbols above them; no silence, that is blank's."""
    spelled = [(i, s) for i, word in enumerate(words) if i >= FIRST_WORD for s in spellings[word]]
    uses = Counter(s for _, s in spelled)
    beginnings = {s[:k] for s in uses for k in range(1, len(s))}
    first_mark = columns + 1
    numbered: Counter[tuple[int, ...]] = Counter()
    arcs: list[tuple[int, int, int, int]] = [(0, first_mark, len(words), 0)]
    states = 1
    for word, spelling in spelled:
        labels = [column + 1 for column in spelling]
        if uses[spelling] > 1 or spelling in beginnings:
            numbered[spelling] += 1
            labels.append(first_mark + numbered[spelling])
        here = 0
        for j, label in enumerate(labels):
            there = states if j + 1 < len(labels) else 0
            states += there > 0
            arcs.append((here, label, word if j == 0 else 0, there))
            here = there
    source, inputs, outputs, target = (np.array(column) for column in zip(*arcs, strict=True))
    final = np.full(states, np.inf, np.float32)
    final[0] = 0.0
    return FlatFst(source, target, inputs, outputs, np.zeros(len(arcs), np.float32), final, 0)


@dataclass(frozen=True)
class _Repeats:
    """Pairs (state, token just said) behind which that token may come again, for which a blank is needed."""

    key: Int64

    def place(self, key: Int64) -> Int64:
        """Return where each key is, -1 where it is not."""
        return _places(self.key, key)


def _places(known: Int64, wanted: Int64) -> Int64:
    """Return where in the ascending `known` each of `wanted` is, -1 where it is not."""
    if not len(known):
        return np.full(len(wanted), -1)
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[found] == wanted, found, -1)


def _distinct(keys: Int64) -> Int64:
    """Return the keys ascending, each once. By sorting: numpy.unique's hash table is far slower on millions."""
    ordered = np.sort(keys)
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _repeats(fst: FlatFst, entries: Int64, base: int) -> _Repeats:
    """Find them among `entries` (state * base + label) and what arcs without input lead to from there."""
    emitting = fst.input > 0
    said = _distinct(fst.source[emitting] * base + fst.input[emitting])
    first, there = _by_source(fst.source[~emitting], fst.target[~emitting], len(fst.final))
    pairs, frontier = entries, entries
    links_from, links_to = [entries[:0]], [entries[:0]]
    while len(frontier):
        state, label = frontier // base, frontier % base
        counts = first[state + 1] - first[state]
        reached = there[_ranges(first[state], counts)] * base + np.repeat(label, counts)
        links_from.append(np.repeat(frontier, counts))
        links_to.append(reached)
        reached = _distinct(reached)
        frontier = reached[_places(pairs, reached) < 0]
        pairs = np.sort(np.concatenate([pairs, frontier]))
    repeated = pairs[_places(said, pairs) >= 0]
    begin, end = np.concatenate(links_from), np.concatenate(links_to)
    while True:
        # Arcs without input lead to a repeat from here.
        more = _distinct(np.concatenate([repeated, begin[_places(repeated, end) >= 0]]))
        if len(more) == len(repeated):
            return _Repeats(repeated)
        repeated = more


def add_ctc_topology(fst: FlatFst, blank: int, columns: int, words: Sequence[str]) -> Graph:
    """Let tokens last and blanks come between them.

    Parameters
    ----------
    fst : FlatFst
        Input labels are column + 1, 0 for none; the blank's is not among them. Output labels are word ids.
    blank : int
        Its column.
    columns : int
        Of the model's output.
    words : sequence of str

    Notes
    -----
    States: B(q), a blank or nothing was last, has the number of q; T(q, i), token i is being said, follows; N(q, i),
    token i was said and no blank since, exists only where q or what it leads to without input could say i again.
    """
    states, base = len(fst.final), columns + 1
    emitting = fst.input > 0
    entries = _distinct(fst.target[emitting] * base + fst.input[emitting])
    repeats = _repeats(fst, entries, base)
    entered, label = entries // base, entries % base
    token_state = states + np.arange(len(entries))

    def token_of(arcs: Int64) -> Int64:
        return states + np.searchsorted(entries, fst.target[arcs] * base + fst.input[arcs])

    order = np.argsort(fst.source, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(fst.source, minlength=states))])
    silent_leaving = np.bincount(fst.source[~emitting], minlength=states) > 0
    degree = np.diff(first)
    copied = (degree[entered] <= _FEW_ARCS) & ~silent_leaving[entered]
    place = repeats.place(entries)
    again = (place >= 0) & ~copied

    # Which N states are needed: those behind T states, and what these lead to without input.
    columns_of_arcs: list[tuple[Int64, Int64, Int64, Int64, NDArray[np.float32]]] = []
    final = [fst.final, np.where(copied, fst.final[entered], np.float32(np.inf))]

    def add(source: Int64, target: Int64, pdf: Int64, word: Int64, weight: NDArray[np.float32]) -> None:
        columns_of_arcs.append((source, target, pdf, word, weight))

    def free(source: Int64, target: Int64, pdf: Int64) -> None:
        add(source, target, pdf, np.zeros(len(source), np.int64), np.zeros(len(source), np.float32))

    # B(q): the graph's own arcs.
    everyone = np.arange(len(fst.source))
    spoken, silent = everyone[emitting], everyone[~emitting]
    add(fst.source[spoken], token_of(spoken), fst.input[spoken] - 1, fst.output[spoken], fst.weight[spoken])
    add(fst.source[silent], fst.target[silent], np.full(len(silent), -1), fst.output[silent], fst.weight[silent])
    resting = _distinct(np.concatenate([entered, [fst.start]]))
    free(resting, resting, np.full(len(resting), blank))
    # T(q, i): it lasts; then a blank, or the next token, or on to B(q) where that is the same.
    free(token_state, token_state, label - 1)
    onward = ~copied & ~again
    free(token_state[onward], entered[onward], np.full(int(onward.sum()), -1))
    strict = copied | again
    free(token_state[strict], entered[strict], np.full(int(strict.sum()), blank))
    counts = degree[entered[copied]]
    arcs = order[_ranges(first[entered[copied]], counts)]
    source, said = np.repeat(token_state[copied], counts), np.repeat(label[copied], counts)
    other = fst.input[arcs] != said
    arcs = arcs[other]
    add(source[other], token_of(arcs), fst.input[arcs] - 1, fst.output[arcs], fst.weight[arcs])
    # N(q, i): everything but i, without a blank; reached from T(q, i), and from N(p, i) without input.
    state, said = repeats.key // base, repeats.key % base
    nothing = states + len(entries) + np.arange(len(repeats.key))
    free(token_state[again], nothing[place[again]], np.full(int(again.sum()), -1))
    counts = degree[state]
    arcs = order[_ranges(first[state], counts)]
    source, said = np.repeat(nothing, counts), np.repeat(said, counts)
    other = (fst.input[arcs] > 0) & (fst.input[arcs] != said)
    going = arcs[other]
    add(source[other], token_of(going), fst.input[going] - 1, fst.output[going], fst.weight[going])
    mute = fst.input[arcs] == 0
    following = repeats.place(fst.target[arcs[mute]] * base + said[mute])
    target = np.where(following >= 0, states + len(entries) + following, fst.target[arcs[mute]])
    add(source[mute], target, np.full(len(target), -1), fst.output[arcs[mute]], fst.weight[arcs[mute]])
    final.append(fst.final[state])

    source, target, pdf, word, weight = (np.concatenate(parts) for parts in zip(*columns_of_arcs, strict=True))
    return _connected(source, target, pdf, word, weight, np.concatenate(final), fst.start, columns, blank, words)


def _connected(
    source: Int64,
    target: Int64,
    pdf: Int64,
    word: Int64,
    weight: NDArray[np.float32],
    final: NDArray[np.float32],
    start: int,
    columns: int,
    blank: int,
    words: Sequence[str],
) -> Graph:
    """Lay the arcs out as a graph, without the states that nothing leads to (N and B states, mostly)."""
    by_source, there = _by_source(source, target, len(final))
    found = _reached(by_source, there, start)
    new = np.cumsum(found) - 1
    kept = found[source]
    return graph_from_arcs(
        source=new[source[kept]],
        target=new[target[kept]],
        pdf=pdf[kept],
        word=word[kept],
        weight=weight[kept].astype(np.float32),
        final=final[found].astype(np.float32),
        start=int(new[start]),
        pdfs=columns,
        silence_pdfs=(blank,),
        words=words,
    )


@njit(cache=True)
def _reached(first: Int64, target: Int64, start: int) -> NDArray[np.bool_]:
    """Mark the states that paths from `start` come to."""
    found = np.zeros(len(first) - 1, np.bool_)
    waiting = np.empty(len(first) - 1, np.int64)
    found[start] = True
    waiting[0] = start
    count = 1
    here = 0
    while here < count:
        for a in range(first[waiting[here]], first[waiting[here] + 1]):
            if not found[target[a]]:
                found[target[a]] = True
                waiting[count] = target[a]
                count += 1
        here += 1
    return found


def _by_source(source: Int64, target: Int64, states: int) -> tuple[Int64, Int64]:
    """Return offsets per state, and targets in order of their sources."""
    first = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=states))])
    return first, target[np.argsort(source, kind="stable")]


def _ranges(first: Int64, counts: Int64) -> Int64:
    """Return first[0], first[0] + 1, ... (counts[0] numbers), first[1], ... in one array."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
