"""What rows take of quadratic forms in the effects, some thousand rows at a time.

So many stay in a processor's cache: arrays with a row for each of millions are written to memory, and read
again, in every operation.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmeformula.algebra.crossproducts import Layout, are_ones
from lmeformula.arrays import Codes, Floats

# Numbers that a block of rows reads of a term's effects.
AT_HAND = 65_536
LEAST_ROWS = 512


def add_forms(found: Floats, plan: Layout, left: Floats, right: Floats) -> None:
    """Add the sum over the columns of Z left times Z right to each row of `found`.

    Args:
      found: (n,).
      plan: layout of the effects, with the rows.
      left, right: (q, s) effects.
    """
    size, pairs = left.shape[1], zip(plan.split(left), plan.split(right), strict=True)
    both = [np.concatenate(pair, axis=2) for pair in pairs]
    terms = [(plan.level(j), _values(plan, j), part) for j, part in enumerate(both)]
    for rows in blocks_of(len(found), max(part[0].size for part in both)):
        read = _read(terms, rows)
        found[rows] += np.einsum("ns,ns->n", read[:, :size], read[:, size:])


def add_level_forms(
    found: Floats, first: tuple[Codes, Floats], blocks: Floats, second: Floats, share: float = 1.0
) -> None:
    """Add `share` times v' block w to each row of `found`.

    Args:
      found: (n,).
      first: (n,) which block is each row's, and (n, k) v.
      blocks: (m, k, k').
      second: (n, k') w.
      share: what the forms count for.
    """
    codes, left = first
    flat = blocks.reshape(len(blocks), -1)
    for rows in blocks_of(len(found), flat.shape[1]):
        read = np.take(flat, codes[rows], axis=0).reshape(-1, *blocks.shape[1:])
        for a in range(read.shape[1]):
            for b in range(read.shape[2]):
                found[rows] += share * left[rows, a] * read[:, a, b] * second[rows, b]


def blocks_of(num_rows: int, width: int) -> Iterator[slice]:
    """Rows in blocks that stay at hand, with so many numbers for each."""
    step = max(LEAST_ROWS, AT_HAND // max(width, 1))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def in_parts(count: int, most: int) -> Iterator[slice]:
    """So many columns in as few parts of at most `most` as there have to be, of about the same size."""
    num_parts = -(-count // most)
    for part in range(num_parts):
        yield slice(part * count // num_parts, (part + 1) * count // num_parts)


def _values(plan: Layout, term: int) -> Floats | None:
    """(n, k) of a term; None for ones alone."""
    values = plan.values(term)
    return None if are_ones(values) else values


def _read(terms: list[tuple[Codes, Floats | None, Floats]], rows: slice) -> Floats:
    """(b, s) Z effects of a block of rows: of each term levels (n,), values (n, k) and effects (l, k, s)."""
    total: Floats | None = None
    for level, values, part in terms:
        read = np.take(part, level[rows], axis=0)
        for a in range(part.shape[1]):
            own = read[:, a]
            if values is not None:
                own *= values[rows, a, None]
            total = own if total is None else np.add(total, own, out=total)
    assert total is not None
    return total
