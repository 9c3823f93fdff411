"""The sparse inverse of the relationships in a pedigree.

With s and d the parents of animal i, its breeding value is (u_s + u_d) / 2 + m_i, and the m are independent
with variances D_i = 1/2 - (F_s + F_d) / 4, where F = -1 stands for a parent that is not known: A^-1 =
(I - P)' D^-1 (I - P), with one half for each known parent in P. The inbreeding F_i is half of A_sd.

References: Henderson (1976), Biometrics 32, 69-83, for the inverse; Quaas (1976), Biometrics 32, 949-953, with
inbreeding; Colleau (2002), Genet. Sel. Evol. 34, 409-421, for columns of A by solving with I - P.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.frame import open_frame
from lmeformula.design.relation import Precision
from lmeformula.design.values import Categories, categories, listed
from lmeformula.errors import FormulaDataError

# Animals whose ancestors are looked at together.
AT_A_TIME = 256
# How files say that a parent is not known, beside missing values.
UNKNOWN = ("", "0", "NA", "NaN", "nan", "None")


def pedigree(frame: Any, id: str = "id", sire: str = "sire", dam: str = "dam") -> Precision:
    """The relationships in a pedigree, as the sparse inverse of their matrix, for `covariances=` of `lf.fit`.

    Args:
      frame: a data frame with a row for each animal, in any order; or any table that `lf.fit` takes.
      id: the column of the animals' names.
      sire: the column of their fathers; missing, "" or "0" where that is not known.
      dam: the column of their mothers.
    Returns:
      The inverse of the numerator relationship matrix, inbreeding included, with a level for each animal: those
      of `id` in their order, and before them parents without a row of their own, whose parents are not known.
      Its `inbreeding` has a coefficient for each level.
    Raises:
      FormulaDataError: if a column is absent, an animal has two rows or no name, or is its own ancestor.
    Example:
      >>> rows = {"id": ["c", "d"], "sire": ["a", "a"], "dam": ["b", "c"]}
      >>> found = pedigree(rows)
      >>> found.levels, found.inbreeding.tolist()
      (('a', 'b', 'c', 'd'), [0.0, 0.0, 0.0, 0.25])
      >>> found.matrix.toarray().round(3)[-1].tolist()
      [-1.0, 0.0, -1.0, 2.0]

    References:
      Henderson (1976), Biometrics 32, 69-83; Quaas (1976), Biometrics 32, 949-953.
    """
    table = open_frame(frame, lambda columns: [id, sire, dam])
    for name in (id, sire, dam):
        if name not in table.columns:
            raise FormulaDataError(
                f"the pedigree has no column {name!r}",
                hint=f"It has {listed(table.columns)}: say which they are, id=..., sire=..., dam=....",
            )
    names = _names(categories(_column(table, id)), id)
    mothers, fathers = (_names(categories(_column(table, one)), "") for one in (dam, sire))
    levels, parents = _numbered(names, fathers, mothers)
    generation = _generations(levels, parents)
    return _precision(levels, parents, generation)


def _column(table: Any, name: str) -> Any:
    from lmeformula.design.frame import column_of

    return column_of(table, name)


def _names(column: Categories, required: str) -> list[str]:
    """The names in a column, "" where there is none."""
    every = ["" if level in UNKNOWN and not required else level for level in column.levels]
    if required and (column.codes < 0).any():
        row = int(np.argmax(column.codes < 0))
        raise FormulaDataError(f"the pedigree has no name in row {row + 1} of '{required}'")
    return [every[code] if code >= 0 else "" for code in column.codes.tolist()]


def _numbered(
    names: list[str], fathers: list[str], mothers: list[str]
) -> tuple[tuple[str, ...], Ints]:
    """The levels, and the places (l, 2) of their parents, -1 for what is not known."""
    own = dict.fromkeys(names)
    if len(own) < len(names):
        seen: set[str] = set()
        repeated = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise FormulaDataError(
            f"the pedigree has {repeated!r} in more than one row",
            hint="Each animal has one row, with its parents.",
        )
    founders = [name for name in dict.fromkeys([*fathers, *mothers]) if name and name not in own]
    levels = (*founders, *names)
    places = {name: place for place, name in enumerate(levels)} | {"": -1}
    parents = np.full((len(levels), 2), -1, np.int64)
    for column, of in enumerate((fathers, mothers)):
        parents[len(founders) :, column] = [places[name] for name in of]
    return levels, parents


def _generations(levels: tuple[str, ...], parents: Ints) -> Ints:
    """(l,) of each animal: one more than the later one of its parents'."""
    found = np.full(len(levels) + 1, -1, np.int64)
    # What is not known is earlier than all others; its place is the last, -1.
    is_known: Mask = np.zeros(len(levels) + 1, bool)
    is_known[-1] = True
    left, number = np.arange(len(levels)), 0
    while left.size:
        ready = is_known[parents[left]].all(axis=1)
        if not ready.any():
            raise _loop(levels, parents, left)
        found[left[ready]] = number
        is_known[left[ready]] = True
        left, number = left[~ready], number + 1
    return found[:-1]


def _loop(levels: tuple[str, ...], parents: Ints, left: Ints) -> FormulaDataError:
    """What is said of animals that are their own ancestors."""
    among, path = set(left.tolist()), [int(left[0])]
    while True:
        following = next(int(parent) for parent in parents[path[-1]] if int(parent) in among)
        if following in path:
            path = [*path[path.index(following) :], following]
            break
        path.append(following)
    said = " has the parent ".join(repr(levels[place]) for place in path[:6])
    return FormulaDataError(
        f"the pedigree has an animal that is its own ancestor: {said}",
        hint="One of these parents is wrong: look at their rows.",
    )


def _precision(levels: tuple[str, ...], parents: Ints, generation: Ints) -> Precision:
    count = len(levels)
    order = np.argsort(generation, kind="stable")
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    # In the order of generations: parents before their offspring.
    of = np.where(parents[order] >= 0, place[parents[order]], -1)
    rows = np.repeat(np.arange(count), 2)[of.ravel() >= 0]
    columns = of.ravel()[of.ravel() >= 0]
    halves = sp.csc_array((np.full(len(rows), -0.5), (rows, columns)), (count, count))
    unit = sp.csc_array(sp.eye_array(count) + halves)
    inbreeding, D = _inbreeding(unit, of, generation[order])
    triangle = sp.csc_array(sp.diags_array(1.0 / np.sqrt(D)) @ unit)
    triangle.sort_indices()
    back = sp.csc_array(triangle[:, place])
    matrix = sp.csc_array(back.T @ back)
    return Precision(matrix, levels, triangle, order, inbreeding[place])


def _inbreeding(unit: sp.csc_array, parents: Ints, generation: Ints) -> tuple[Floats, Floats]:
    """(l,) F and D of animals in the order of generations, from I - P."""
    count = len(parents)
    solver = splu(unit, permc_spec="NATURAL", diag_pivot_thresh=0.0)
    inbreeding, D = np.zeros(count + 1), np.ones(count)
    # An unknown parent counts as one with F = -1: it leaves its whole quarter to chance.
    inbreeding[-1] = -1.0
    edges = np.searchsorted(generation, np.arange(int(generation[-1]) + 2))
    for start, stop in itertools.pairwise(edges):
        here = np.arange(start, stop)
        both = parents[here]
        D[here] = 0.5 - 0.25 * inbreeding[both].sum(axis=1)
        related = here[(both >= 0).all(axis=1)]
        inbreeding[related] = 0.5 * _between(solver, D, parents[related])
    return inbreeding[:-1], D


def _between(solver: Any, D: Floats, pairs: Ints) -> Floats:
    """(m,) elements of A of pairs (m, 2) of animals, all of whose ancestors' D are known."""
    count, found = len(D), np.zeros(len(pairs))
    # Of the parent that is there in fewer places the relationships with all others are worked out.
    column = int(np.unique(pairs[:, 1]).size < np.unique(pairs[:, 0]).size)
    own, of_pair = np.unique(pairs[:, column], return_inverse=True)
    for start in range(0, len(own), AT_A_TIME):
        some = own[start : start + AT_A_TIME]
        right = np.zeros((count, len(some)))
        right[some, np.arange(len(some))] = 1.0
        relationships = solver.solve(D[:, None] * solver.solve(right, trans="T"))
        here = np.flatnonzero((of_pair >= start) & (of_pair < start + AT_A_TIME))
        found[here] = relationships[pairs[here, 1 - column], of_pair[here] - start]
    return found
