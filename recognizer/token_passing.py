"""The loops of the beam search, jitted. Nothing here checks its arguments; :mod:`recognizer.beam_search` does.

The search keeps a *trellis*: one layer of tokens before the first frame and one after each frame, all in one array.
A token knows the arc by which its best path came in and the token that path came from, so the best path is read off
backwards and needs no history of its own. Of two paths that meet in a token the loser becomes a *link*, if it is at
most the lattice beam worse: tokens and links together are the state-level lattice (Kaldi's ``LatticeFasterDecoder``
keeps the same as forward links).

Costs of a layer's tokens are relative to the layer's offset. A link's ``slack`` is how much worse the best path over
the link is than the best path into its target; of a token's own best arc it is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recognizer.prefetch import prefetch

TOKEN = np.dtype([("cost", "<f4"), ("state", "<i4"), ("source", "<i4"), ("arc", "<i4")])
LINK = np.dtype([("slack", "<f4"), ("source", "<i4"), ("target", "<i4"), ("arc", "<i4")])

_BINS = 256
_FAR = np.float32(1e30)
_HASH = 2654435761
_MORE_TOKENS, _MORE_LINKS, _LARGER_TABLE, _LONGER_QUEUE = -1, -2, -3, -4
_AHEAD = 12
"""Tokens between asking for a state's memory and using it."""


@njit(cache=True)
def _larger(array: NDArray[Any]) -> NDArray[Any]:
    grown = np.empty(len(array) + len(array) // 2, array.dtype)
    grown[: len(array)] = array
    return grown


@njit(cache=True)
def _expansion_width(
    tokens: NDArray[np.void], begin: int, end: int, best: np.float32, beam: np.float32, max_active: int
) -> np.float32:
    """Width of the beam that leaves about `max_active` tokens."""
    if end - begin <= max_active:
        return beam
    histogram = np.zeros(_BINS, np.int64)
    scale = np.float32(_BINS) / beam
    for i in range(begin, end):
        place = (tokens[i].cost - best) * scale
        if place < _BINS:
            histogram[int(place)] += 1
    total = 0
    for k in range(_BINS):
        total += histogram[k]
        if total >= max_active:
            return np.float32(k + 1) / scale
    return beam


@njit(cache=True)
def _with_room(lacking: Any, table: Any, queue: Any, tokens: Any, links: Any) -> Any:
    if lacking == _LARGER_TABLE:
        table = np.empty(2 * len(table), np.int64)
    elif lacking == _LONGER_QUEUE:
        queue = np.empty(2 * len(queue), np.int32)
    elif lacking == _MORE_TOKENS:
        tokens = _larger(tokens)
    else:
        links = _larger(links)
    return table, queue, tokens, links


@njit(cache=True)
def _emit(
    states: Any,
    arcs: Any,
    score: Any,
    begin: Any,
    end: Any,
    best: Any,
    cutoff: Any,
    width: Any,
    reach: Any,
    lattice_beam: Any,
    table: Any,
    tokens: Any,
    links: Any,
    link_end: Any,
) -> Any:
    """Let the tokens from `begin` to `end` cross the arcs that hear a frame; the new ones come behind them.

    Returns where the new tokens end (below zero: what there was no room for), where the links end, and the next cutoff.
    """
    made = end
    most, most_links, most_entries = len(tokens), len(links), len(table) // 2 + end
    mask = len(table) - 1
    for i in range(begin, end):
        if i + _AHEAD < end:
            prefetch(states, np.int64(tokens[i + _AHEAD].state))
        if i + _AHEAD // 2 < end:
            prefetch(arcs, np.int64(states[tokens[i + _AHEAD // 2].state].emitting))
        base = tokens[i].cost - best
        if base > width:
            continue
        state = tokens[i].state
        for a in range(states[state].emitting, states[state + 1].first):
            cost = base + arcs[a].weight - score[arcs[a].pdf]
            if cost >= cutoff:
                continue
            cutoff = min(cutoff, cost + reach)
            following = np.int64(arcs[a].next)
            place = ((following * _HASH) >> 9) & mask
            while table[place] >= 0 and (table[place] >> 32) != following:
                place = (place + 1) & mask
            if table[place] < 0:
                if made >= min(most, most_entries):
                    return (_MORE_TOKENS if made == most else _LARGER_TABLE), link_end, cutoff
                j = made
                made += 1
                table[place] = (following << 32) | j
                tokens[j].state = following
            else:
                j = table[place] & 0xFFFFFFFF
                other = tokens[j].cost
                if abs(cost - other) <= lattice_beam:
                    if link_end == most_links:
                        return _MORE_LINKS, link_end, cutoff
                    # The loser of the two becomes a link.
                    if other <= cost:
                        links[link_end].slack, links[link_end].source, links[link_end].arc = cost, i, a
                    else:
                        links[link_end].slack = other
                        links[link_end].source, links[link_end].arc = tokens[j].source, tokens[j].arc
                    links[link_end].target = j
                    link_end += 1
                if other <= cost:
                    continue
            tokens[j].cost = cost
            tokens[j].source = i
            tokens[j].arc = a
    return made, link_end, cutoff


@njit(cache=True)
def _close(
    states: Any,
    arcs: Any,
    begin: Any,
    end: Any,
    cutoff: Any,
    lattice_beam: Any,
    table: Any,
    queue: Any,
    tokens: Any,
    links: Any,
    link_end: Any,
) -> Any:
    """Let the tokens from `begin` cross arcs without input; return as :func:`_emit`, without the cutoff."""
    most, most_links, most_entries = len(tokens), len(links), len(table) // 2 + begin
    mask = len(table) - 1
    queued = 0
    for i in range(begin, end):
        if i + _AHEAD < end:
            prefetch(states, np.int64(tokens[i + _AHEAD].state))
        state = tokens[i].state
        first = states[state].first
        # The next frame will read these arcs; with luck they are here by then.
        prefetch(arcs, np.int64(first))
        if states[state].emitting > first and tokens[i].cost < cutoff:
            if queued == len(queue):
                return _LONGER_QUEUE, link_end
            queue[queued] = i
            queued += 1
    while queued > 0:
        queued -= 1
        i = queue[queued]
        base = tokens[i].cost
        if base >= cutoff:
            continue
        state = tokens[i].state
        for a in range(states[state].first, states[state].emitting):
            cost = base + arcs[a].weight
            if cost >= cutoff:
                continue
            following = np.int64(arcs[a].next)
            place = ((following * _HASH) >> 9) & mask
            while table[place] >= 0 and (table[place] >> 32) != following:
                place = (place + 1) & mask
            if table[place] < 0:
                if end >= min(most, most_entries):
                    return (_MORE_TOKENS if end == most else _LARGER_TABLE), link_end
                j = end
                end += 1
                table[place] = (following << 32) | j
                tokens[j].state = following
            else:
                j = table[place] & 0xFFFFFFFF
                other = tokens[j].cost
                if abs(cost - other) <= lattice_beam and (tokens[j].source != i or tokens[j].arc != a):
                    if link_end == most_links:
                        return _MORE_LINKS, link_end
                    if other <= cost:
                        links[link_end].slack, links[link_end].source, links[link_end].arc = cost, i, a
                    else:
                        links[link_end].slack = other
                        links[link_end].source, links[link_end].arc = tokens[j].source, tokens[j].arc
                    links[link_end].target = j
                    link_end += 1
                if other <= cost:
                    continue
            tokens[j].cost = cost
            tokens[j].source = i
            tokens[j].arc = a
            if states[following].emitting > states[following].first:
                if queued == len(queue):
                    return _LONGER_QUEUE, link_end
                queue[queued] = j
                queued += 1
    return end, link_end


@njit(cache=True)
def _settle(
    arcs: Any, begin: Any, link_begin: Any, link_end: Any, lattice_beam: Any, tokens: Any, links: Any
) -> Any:
    """Turn the layer's links from costs into slacks, drop those beyond the lattice beam; return where they end."""
    kept = link_begin
    for k in range(link_begin, link_end):
        source, target, arc = links[k].source, links[k].target, links[k].arc
        cost = links[k].slack
        if source >= begin:  # without input: its source may have become better since
            cost = tokens[source].cost + arcs[arc].weight
            if tokens[target].source == source and tokens[target].arc == arc:
                continue
        slack = max(cost - tokens[target].cost, np.float32(0.0))
        if slack <= lattice_beam and source >= 0:
            links[kept].slack = slack
            links[kept].source, links[kept].target, links[kept].arc = source, target, arc
            kept += 1
    return kept


@njit(cache=True)
def begin_tokens(
    states: Any, arcs: Any, beam: Any, lattice_beam: Any, table: Any, queue: Any, tokens: Any, links: Any
) -> Any:
    """Close the one token at `tokens[0]` over arcs without input: the layer before the first frame.

    Returns where the tokens and the links end, and the arrays, which may have been replaced by larger ones.
    """
    while True:
        table[:] = -1
        state = np.int64(tokens[0].state)
        table[((state * _HASH) >> 9) & (len(table) - 1)] = state << 32
        end, link_end = _close(states, arcs, 0, 1, beam, lattice_beam, table, queue, tokens, links, 0)
        if end >= 0:
            break
        table, queue, tokens, links = _with_room(end, table, queue, tokens, links)
    return end, _settle(arcs, 0, 0, link_end, lattice_beam, tokens, links), table, queue, tokens, links


@njit(cache=True)
def pass_tokens(
    states: Any,
    arcs: Any,
    scores: Any,
    beam: Any,
    max_active: Any,
    beam_delta: Any,
    lattice_beam: Any,
    layers: Any,
    begin: Any,
    end: Any,
    link_end: Any,
    first: Any,
    first_link: Any,
    offsets: Any,
    table: Any,
    queue: Any,
    tokens: Any,
    links: Any,
) -> Any:
    """Add a layer per frame of `scores` behind the layer of the tokens from `begin` up to `end`.

    Parameters
    ----------
    layers : int
        Layers so far. Layer ``l`` begins at ``first[l]`` in `tokens`, its links (those into it) at
        ``first_link[l]``; ``offsets[l]`` is what its costs are relative to.

    Returns
    -------
    tuple
        ``begin, end, link_end``, and the arrays, which may have been replaced by larger ones.
    """
    for step in range(len(scores)):
        best, best_token = _FAR, -1
        for i in range(begin, end):
            if tokens[i].cost < best:
                best, best_token = tokens[i].cost, i
        width = _expansion_width(tokens, begin, end, best, beam, max_active)
        reach = beam if width >= beam else min(beam, width + beam_delta)
        score = scores[step]
        start = _FAR
        if best_token >= 0:
            # The best token's own successors give a first idea of the next frame's cutoff.
            state = tokens[best_token].state
            for a in range(states[state].emitting, states[state + 1].first):
                start = min(start, arcs[a].weight - score[arcs[a].pdf] + reach)
        size = 1024
        while size < len(table) and size < 6 * (end - begin):
            size *= 2
        while True:
            # The loops must not exchange arrays (each exchange is counted, and that doubled their time); where room
            # gets short they give up, and the frame begins again with more.
            used = table[:size]
            used[:] = -1
            made, links_made, cutoff = _emit(
                states,
                arcs,
                score,
                begin,
                end,
                best,
                start,
                width,
                reach,
                lattice_beam,
                used,
                tokens,
                links,
                link_end,
            )
            if made >= 0:
                made, links_made = _close(
                    states, arcs, end, made, cutoff, lattice_beam, used, queue, tokens, links, links_made
                )
            if made >= 0:
                break
            if made == _LARGER_TABLE:
                size *= 2
            if made != _LARGER_TABLE or size > len(table):
                table, queue, tokens, links = _with_room(made, table, queue, tokens, links)
        begin, end = end, made
        if layers + 1 >= len(first):
            first, first_link, offsets = _larger(first), _larger(first_link), _larger(offsets)
        first[layers], first_link[layers] = begin, link_end
        link_end = _settle(arcs, begin, link_end, links_made, lattice_beam, tokens, links)
        first[layers + 1], first_link[layers + 1] = end, link_end
        offsets[layers] = offsets[layers - 1] + (best if best_token >= 0 else np.float32(0.0))
        layers += 1
    return begin, end, link_end, first, first_link, offsets, table, queue, tokens, links
