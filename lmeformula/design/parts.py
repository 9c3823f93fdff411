"""Second stage: terms whose covariance differs by the levels of a factor, gr(g, by = a)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lmeformula.arrays import Codes, Ints
from lmeformula.design.design import TermBlock
from lmeformula.design.grouping import Grouping
from lmeformula.errors import FormulaDataError
from lmeformula.formula.ir import RandomTerm


def by_parts(block: TermBlock, term: RandomTerm, by: Grouping, codes: Ints) -> TermBlock:
    """Give a term its columns once for each level of what its covariance differs by.

    Args:
      block: the term without that.
      term: as written.
      by: the levels.
      codes: (n,) each row's.
    Returns:
      The term, whose columns are those of the first level, then those of the second one, ...; a row has zeros
      in those of other levels than its own.
    Raises:
      FormulaDataError: if a level of the grouping factor has rows of several of the levels.
    """
    if term.block:
        raise FormulaDataError(
            f"the terms linked by the label '{term.block}' have one covariance, not one for each level of "
            f"'{term.group.by}'",
            span=term.span,
            hint="Leave the label out, or by = ....",
        )
    part_of = np.zeros(len(block.levels), np.int32)
    known = block.index >= 0
    part_of[block.index[known]] = codes[known]
    wrong = np.flatnonzero(known & (part_of[np.maximum(block.index, 0)] != codes))
    if wrong.size:
        level = int(block.index[wrong[0]])
        both = sorted({int(codes[wrong[0]]), int(part_of[level])})
        raise FormulaDataError(
            f"{block.group} {block.levels[level]} has rows of several levels of '{term.group.by}': "
            + ", ".join(by.levels[code] for code in both),
            span=term.span,
            hint=f"Each level of {block.group} has one of the covariances, all the time.",
        )
    count = len(by.levels)
    own = codes[:, None] == np.arange(count)
    values = (own[:, :, None] * block.values[:, None, :]).reshape(len(codes), -1)
    return replace(
        block,
        columns=tuple(
            ("" if column == "Intercept" else f"{column}:") + f"{term.group.by}[{level}]"
            for level in by.levels
            for column in block.columns
        ),
        values=np.ascontiguousarray(values),
        predictors=block.predictors * count,
        parts=count,
        part_of=part_of if count > 1 else None,
    )


def check_parts(rows: TermBlock, fitted: Codes | None) -> None:
    """Refuse new rows of a level of the data of the fit that had another covariance there.

    Args:
      rows: the term on new rows.
      fitted: (l,) which part each level has; None where there is one.
    """
    if fitted is None or rows.part_of is None:
        return
    known = rows.index[rows.index >= 0]
    moved = known[rows.part_of[known] != fitted[known]]
    if moved.size:
        raise FormulaDataError(
            f"{rows.group} {rows.levels[int(moved[0])]} had another covariance in the data of the fit",
            hint="Give its rows the level that they had there.",
        )
