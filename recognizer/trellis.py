"""What is read off a search's trellis, jitted: the best path, what can be forgotten, the state-level lattice.

Layout as :mod:`recognizer.token_passing` tells. An ``extra`` cost is how much worse the best path through a token is
than the best path to any of the ends looked at (Kaldi's ``extra_cost``): while the search goes on, each token of
the last layer counts as an end of its own, since any of them may turn out to be on the best path.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

STATE_ARC = np.dtype(
    [("source", "<i4"), ("target", "<i4"), ("word", "<i4"), ("graph", "<f8"), ("acoustic", "<f8")]
)

_FAR = np.float32(1e30)


@njit(cache=True)
def best_path(tokens: Any, first: Any, layers: Any, arcs: Any, token: Any) -> Any:
    """Return the words of the best path into `token` (of the last layer) and the frames in which they came."""
    count = 0
    for round in range(2):
        if round == 1:
            words, frames = np.empty(count, np.int32), np.empty(count, np.int32)
        here, layer = token, layers - 1
        while here >= 0:
            arc, source = tokens[here].arc, tokens[here].source
            if arc >= 0 and arcs[arc].word != 0:
                if round == 0:
                    count += 1
                else:
                    count -= 1
                    words[count], frames[count] = arcs[arc].word, layer - 1
            if source < first[layer]:
                layer -= 1
            here = source
    return words, frames


@njit(cache=True)
def agreed_words(tokens: Any, arcs: Any, begin: Any, end: Any, best: Any, margin: Any) -> int:
    """Count the words of the best path, into token `best`, before the place where the first of the other living paths
    (tokens `begin` to `end`) that cost at most `margin` more leaves it.
    """
    walked = np.zeros(end, np.int32)
    place, steps = best, 1
    while place >= 0:
        walked[place] = steps
        place, steps = tokens[place].source, steps + 1
    most, furthest = tokens[best].cost + margin, 1
    for i in range(begin, end):
        if tokens[i].cost <= most:
            place = i
            while place >= 0 and walked[place] == 0:
                walked[place] = -1
                place = tokens[place].source
            furthest = max(furthest, steps if place < 0 else walked[place])
    count = 0
    place = best
    for step in range(1, steps):
        if step >= furthest and tokens[place].arc >= 0 and arcs[tokens[place].arc].word != 0:
            count += 1
        place = tokens[place].source
    return count  # type: ignore[no-any-return]


@njit(cache=True)
def last_speech(tokens: Any, first: Any, layers: Any, arcs: Any, silence: Any, token: Any) -> int:
    """Return the last frame in which the best path into `token` was not in silence; -1 if it always was."""
    here, layer = token, layers - 1
    while here >= 0:
        source = tokens[here].source
        if source < 0:
            break
        if source < first[layer]:
            if not silence[arcs[tokens[here].arc].pdf]:
                return layer - 1  # type: ignore[no-any-return]
            layer -= 1
        here = source
    return -1


@njit(cache=True)
def _relax(
    tokens: Any, links: Any, first: Any, first_link: Any, lowest: Any, layers: Any, extra: Any, last: Any
) -> None:
    """Fill `extra` (of the tokens from ``first[lowest]`` on) backwards; that of the last layer is given.

    `last` tells whether the last layer is closed over its arcs without input too (its ends are final states).
    """
    base = first[lowest]
    for layer in range(layers - 1, lowest - 1, -1):
        begin = first[layer]
        changed = last or layer < layers - 1
        while changed:
            changed = False
            for i in range(first[layer + 1] - 1, begin - 1, -1):
                source = tokens[i].source
                if source >= begin and extra[i - base] < extra[source - base]:
                    extra[source - base] = extra[i - base]
                    changed = True
            for k in range(first_link[layer], first_link[layer + 1]):
                source = links[k].source
                if source >= begin:
                    cost = extra[links[k].target - base] + links[k].slack
                    if cost < extra[source - base]:
                        extra[source - base] = cost
                        changed = True
        if layer == lowest:
            break
        for i in range(begin, first[layer + 1]):
            source = tokens[i].source
            if 0 <= source < begin:
                extra[source - base] = min(extra[source - base], extra[i - base])
        for k in range(first_link[layer], first_link[layer + 1]):
            source = links[k].source
            if source < begin:
                cost = extra[links[k].target - base] + links[k].slack
                extra[source - base] = min(extra[source - base], cost)


@njit(cache=True)
def forget(
    tokens: Any, links: Any, first: Any, first_link: Any, lowest: Any, layers: Any, lattice_beam: Any
) -> Any:
    """Drop tokens and links of the layers from `lowest` on that no path within the lattice beam can need.

    What stays is moved down in place. Returns the number of tokens and of links that are left.
    """
    base, end = first[lowest], first[layers]
    extra = np.full(end - base, _FAR, np.float32)
    extra[first[layers - 1] - base :] = 0.0
    _relax(tokens, links, first, first_link, lowest, layers, extra, False)
    place = np.full(end - base, -1, np.int32)
    kept = base
    for i in range(base, end):
        if extra[i - base] <= lattice_beam:
            place[i - base] = kept
            kept += 1
    for i in range(base, end):
        to = place[i - base]
        if to >= 0:
            source = tokens[i].source
            tokens[to].cost, tokens[to].state, tokens[to].arc = tokens[i].cost, tokens[i].state, tokens[i].arc
            tokens[to].source = place[source - base] if source >= base else source
    old_first, old_link = first[lowest : layers + 1].copy(), first_link[lowest : layers + 1].copy()
    kept_links, moved = old_link[0], base
    for layer in range(lowest, layers):
        first[layer], first_link[layer] = moved, kept_links
        for i in range(old_first[layer - lowest], old_first[layer - lowest + 1]):
            moved += place[i - base] >= 0
        for k in range(old_link[layer - lowest], old_link[layer - lowest + 1]):
            source, target = links[k].source, links[k].target
            if extra[target - base] + links[k].slack <= lattice_beam:
                links[kept_links].slack, links[kept_links].arc = links[k].slack, links[k].arc
                links[kept_links].source = place[source - base] if source >= base else source
                links[kept_links].target = place[target - base]
                kept_links += 1
    first[layers], first_link[layers] = moved, kept_links
    return kept, kept_links


@njit(cache=True)
def state_lattice(
    tokens: Any,
    links: Any,
    first: Any,
    first_link: Any,
    offsets: Any,
    layers: Any,
    arcs: Any,
    final: Any,
    lattice_beam: Any,
) -> Any:
    """Return the state-level lattice of all paths at most `lattice_beam` worse than the best.

    Parameters
    ----------
    final : float32[tokens of the last layer]
        Cost of ending in each; at least one is finite.

    Returns
    -------
    layer : int32[nodes]
        Frames consumed; nodes are in topological order.
    lattice_arcs : STATE_ARC[arcs]
        In the order of their sources.
    ending : float64[nodes]
        Final cost, ``inf`` where no path ends.
    origin : float64
        Cost of the first node's token, which paths begin with.
    """
    end, begin = first[layers], first[layers - 1]
    extra = np.full(end, _FAR, np.float32)
    best = _FAR
    for i in range(begin, end):
        best = min(best, tokens[i].cost + final[i - begin])
    for i in range(begin, end):
        extra[i] = tokens[i].cost + final[i - begin] - best
    _relax(tokens, links, first, first_link, 0, layers, extra, True)

    node = np.full(end, -1, np.int32)
    nodes = 0
    waits = np.zeros(end, np.int32)
    ready = np.empty(end, np.int32)
    out_first = np.zeros(end + 1, np.int32)
    for layer in range(layers):
        low, high = first[layer], first[layer + 1]
        # Arcs without input order the tokens of a layer (Kahn's algorithm).
        for i in range(low, high):
            if extra[i] <= lattice_beam and tokens[i].source >= low:
                waits[i] += 1
                out_first[tokens[i].source] += 1
        for k in range(first_link[layer], first_link[layer + 1]):
            target = links[k].target
            if links[k].source >= low and extra[target] + links[k].slack <= lattice_beam:
                waits[target] += 1
                out_first[links[k].source] += 1
        queued = 0
        for i in range(high - 1, low - 1, -1):
            if extra[i] <= lattice_beam and waits[i] == 0:
                ready[queued] = i
                queued += 1
        while queued > 0:
            queued -= 1
            here = ready[queued]
            node[here] = nodes
            nodes += 1
            if out_first[here] == 0:
                continue
            for i in range(low, high):
                if tokens[i].source == here and extra[i] <= lattice_beam:
                    waits[i] -= 1
                    if waits[i] == 0:
                        ready[queued] = i
                        queued += 1
            for k in range(first_link[layer], first_link[layer + 1]):
                target = links[k].target
                if links[k].source == here and extra[target] + links[k].slack <= lattice_beam:
                    waits[target] -= 1
                    if waits[target] == 0:
                        ready[queued] = target
                        queued += 1

    count = 0
    for i in range(end):
        if node[i] >= 0 and tokens[i].source >= 0 and node[tokens[i].source] >= 0:
            count += 1
    for k in range(first_link[layers]):
        if extra[links[k].target] + links[k].slack <= lattice_beam and node[links[k].source] >= 0:
            count += 1
    layer_of = np.empty(nodes, np.int32)
    ending = np.full(nodes, np.inf)
    raw = np.empty(count, STATE_ARC)
    made = 0
    for layer in range(layers):
        for i in range(first[layer], first[layer + 1]):
            if node[i] < 0:
                continue
            layer_of[node[i]] = layer
            if layer == layers - 1 and final[i - begin] < _FAR:
                ending[node[i]] = final[i - begin]
            if tokens[i].source >= 0 and node[tokens[i].source] >= 0:
                made = _add_arc(
                    raw, made, node, tokens, offsets, arcs, first, layer, tokens[i].source, i, tokens[i].arc, 0.0
                )
        for k in range(first_link[layer], first_link[layer + 1]):
            target, source = links[k].target, links[k].source
            if node[source] >= 0 and extra[target] + links[k].slack <= lattice_beam:
                made = _add_arc(
                    raw,
                    made,
                    node,
                    tokens,
                    offsets,
                    arcs,
                    first,
                    layer,
                    source,
                    target,
                    links[k].arc,
                    links[k].slack,
                )
    # Counting sort by source.
    starts = np.zeros(nodes + 1, np.int64)
    for m in range(made):
        starts[raw[m].source + 1] += 1
    for n in range(nodes):
        starts[n + 1] += starts[n]
    ordered = np.empty(made, STATE_ARC)
    for m in range(made):
        ordered[starts[raw[m].source]] = raw[m]
        starts[raw[m].source] += 1
    return layer_of, ordered, ending, np.float64(tokens[0].cost) + offsets[0]


@njit(cache=True)
def _add_arc(
    raw: Any,
    made: Any,
    node: Any,
    tokens: Any,
    offsets: Any,
    arcs: Any,
    first: Any,
    layer: Any,
    source: Any,
    target: Any,
    arc: Any,
    slack: Any,
) -> Any:
    silent = source >= first[layer]
    before = offsets[layer] if silent else offsets[layer - 1]
    graph = np.float64(arcs[arc].weight)
    reached = np.float64(tokens[target].cost) + slack + offsets[layer]
    raw[made].source, raw[made].target = node[source], node[target]
    raw[made].word = arcs[arc].word
    raw[made].graph = graph
    # Apart from float32's rounding an arc without input has no acoustic cost; what rounding left goes there too, so
    # that costs along a path add up to exactly what the search found.
    raw[made].acoustic = reached - (np.float64(tokens[source].cost) + before) - graph
    return made + 1
