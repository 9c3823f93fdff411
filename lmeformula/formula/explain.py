"""IR to plain words: what a formula means, term by term, and what it costs in variance parameters."""

from __future__ import annotations

from itertools import groupby

from lmeformula.formula import ir
from lmeformula.formula.kinds import KINDS, UNSTRUCTURED
from lmeformula.formula.links import linked_terms
from lmeformula.formula.show import (
    expression_text,
    formula_text,
    group_text,
    name_text,
    random_text,
    response_text,
    sum_text,
    term_text,
)
from lmeformula.formula.smooths import BASES, Smooth, is_smooth, smooths_of


class Explanation(str):
    """A text of several lines that a REPL shows as it is."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def explain(formula: ir.FormulaRecord) -> Explanation:
    """Say what a formula means.

    Args:
      formula: any formula.
    Returns:
      text: the response, the fixed effects, the offsets, each random-effects term as it was written with
        what it stands for and its number of variance parameters, and warnings.
    Example:
      >>> from lmeformula.formula import parse
      >>> explain(parse("y ~ x + (1 | a/b) + (x || g)"))
      y ~ 1 + x + (1 | a) + (1 | b:a) + (1 | g) + (0 + x | g)
      Response: y
      Fixed effects: an intercept, x
      Random effects:
        (1 | a/b): intercepts varying over a, and over b within a
          1 | a    1 variance parameter
          1 | b:a  1 variance parameter
        (x || g): intercepts varying over g, and independently slopes of x
          1 | g      1 variance parameter
          0 + x | g  1 variance parameter if x is numeric; k(k + 1)/2 for the k columns of a factor
    """
    lines = [formula_text(formula)]
    if formula.response is not None:
        lines.append(f"Response: {response_text(formula.response)}")
    lines.append(f"Fixed effects: {fixed_words(formula.fixed)}")
    if formula.fixed.offsets:
        lines.append(f"Offset: {' + '.join(map(expression_text, formula.fixed.offsets))}")
    if smooths := smooths_of(formula):
        lines.append("Smooths:")
        lines += map(smooth_words, smooths)
    if formula.random:
        lines.append("Random effects:")
        for _, terms in groupby(formula.random, key=lambda term: term.span or id(term)):
            lines += term_lines(tuple(terms), formula)
        lines += (block_line(linked) for linked in linked_terms(formula.random) if len(linked) > 1)
    lines += (f"{found.code}: {found.message}" for found in formula.diagnostics)
    return Explanation("\n".join(lines))


def fixed_words(part: ir.FixedPart) -> str:
    """List the fixed effects in words."""
    intercept = ["an intercept"] if part.sum.intercept else ["no intercept"]
    names = [
        "every column but the response" if term == ir.Term((ir.Dot(),)) else term_text(term)
        for term in part.sum.terms
        if not any(map(is_smooth, term.variables))
    ]
    text = ", ".join(intercept + names)
    return f"{text} (as written: {part.template})" if part.template else text


def smooth_words(smooth: Smooth) -> str:
    """Say what a smooth is, and how many variances it has."""
    names = [expression_text(variable) for variable in smooth.variables]
    group = smooth.group
    if smooth.bases == ("re",):
        words = f"as ({'0 + ' + names[0] if len(names) > 1 else '1'} | {names[-1]})"
    elif group is not None:
        words = f"a curve in {names[0]} for each level of {names[-1]}, with one smoothness"
    elif smooth.is_product:
        words = f"a surface in {' and '.join(names)}, the tensor product of curves"
    else:
        what = "curve" if len(names) == 1 else "surface"
        words = f"a {what} in {' and '.join(names)}, {BASES[smooth.bases[0]].words}"
    if smooth.by is not None:
        by = expression_text(smooth.by)
        words += f", times {by}; where {by} is a factor one for each of its levels"
    count = 3 if group is not None and smooth.bases == ("fs",) else smooth.num_pieces
    counted = f"{count} variance parameter{'s' if count > 1 else ''}"
    each = " for each level" if smooth.by is not None else ""
    return f"  {expression_text(smooth.call)}: {words}\n    {counted}{each}"


def term_lines(terms: tuple[ir.RandomTerm, ...], formula: ir.FormulaRecord) -> list[str]:
    """Explain one random-effects term as written, which stands for one or more."""
    first = terms[0]
    written = random_text(first)
    if first.span is not None and formula.text:
        written = " ".join(formula.text[slice(*first.span)].split())
    varying: list[str] = []
    said = ""
    for columns, same in groupby(terms, key=lambda term: term.columns):
        over = ", and over ".join(group_words(term.group, terms) for term in same)
        where = "" if over == said else f" varying over {over}"
        words = position_words(first) or column_words(columns)
        varying.append(("independently " if varying else "") + words + where)
        said = over
    meaning = ", and ".join(varying) + covariance_words(first)
    sides = [
        random_text(term) if term.covariance.kind != UNSTRUCTURED else random_text(term)[1:-1]
        for term in terms
    ]
    width = max(map(len, sides))
    counts = [
        f"    {side:<{width}}  {count_words(term)}" for side, term in zip(sides, terms, strict=True)
    ]
    return [f"  {written}: {meaning}", *counts]


def block_line(linked: tuple[ir.RandomTerm, ...]) -> str:
    """Say what linked terms are together: one term with the coefficients of all."""
    first = linked[0]
    products = dict.fromkeys(product for term in linked for product in term.columns.terms)
    columns = ir.TermSum(any(term.columns.intercept for term in linked), tuple(products))
    whole = ir.RandomTerm(columns, first.group, first.covariance)
    return f"  Linked by {first.block}: {random_text(whole)}, {count_words(whole)}"


def position_words(term: ir.RandomTerm) -> str:
    """Say that effects vary over positions; "" where they do not."""
    kind = KINDS.get(term.covariance.kind)
    if kind is None or not kind.has_positions:
        return ""
    return f"effects at each position of {' and '.join(map(term_text, term.columns.terms))}"


def column_words(columns: ir.TermSum) -> str:
    """Say what varies: "intercepts and slopes of x"."""
    slopes = " and ".join(map(term_text, columns.terms))
    words = ["intercepts"] if columns.intercept else []
    return " and ".join(words + ([f"slopes of {slopes}"] if slopes else []))


def group_words(group: ir.GroupingFactor, terms: tuple[ir.RandomTerm, ...]) -> str:
    """Say over what: "g", "b within a" for a nested factor, "the combinations of g and h"."""
    if group.reserved is not None or len(group.names) == 1:
        return group_text(group)
    names = list(map(name_text, group.names))
    if group.members:
        return f"the members that a row has in {', '.join(names[:-1])} and {names[-1]}, by their weights"
    outer = {term.group.names for term in terms}
    if group.names[1:] in outer and group.names[:1] not in outer:
        return f"{names[0]} within {' within '.join(names[1:])}"
    return f"the combinations of {', '.join(names[:-1])} and {names[-1]}"


def covariance_words(term: ir.RandomTerm) -> str:
    """Say how the coefficients of a term vary together, and with what tails."""
    tails = ", by Student's t distribution" if term.group.distribution == "student" else ""
    alone = "" if term.group.cov else " by itself"
    each = f", for each level of {name_text(term.group.by)}{alone}" if term.group.by else ""
    related = (
        f", related between levels as {name_text(term.group.cov)} says" if term.group.cov else ""
    )
    return _covariance_words(term) + tails + each + related


def _covariance_words(term: ir.RandomTerm) -> str:
    covariance = term.covariance
    spread = {True: ", with one variance", False: "", None: ""}[covariance.homogeneous]
    kind = KINDS[covariance.kind]
    if kind.words:
        return (
            kind.words.format(rank=covariance.rank, matrix=covariance.matrix or "a matrix") + spread
        )
    if term.block:
        return f", correlated with the other terms labelled {term.block}"
    return ", correlated" if num_columns(term.columns) > 1 else ""


def num_columns(columns: ir.TermSum) -> int:
    """Count a term's coefficients, if all its variables are numeric."""
    return columns.intercept + len(columns.terms)


def num_parameters(kind: str, homogeneous: bool | None, k: int, rank: int = 0) -> int:
    """Count the variance parameters of a term.

    Args:
      kind: the covariance's kind.
      homogeneous: one variance for all coefficients.
      k: number of coefficients, >= 1.
      rank: number of factors, of a kind that has some.
    Returns:
      The number.
    Example:
      >>> [num_parameters(*s, 3) for s in (("us", None), ("diag", False), ("cs", True), ("ar1", True))]
      [6, 3, 2, 2]
    """
    return KINDS[kind].num_params(bool(homogeneous), k, rank)


def count_words(term: ir.RandomTerm) -> str:
    """Say how many variance parameters a term has, as far as that is known without data."""
    each = f", for each level of {name_text(term.group.by)}" if term.group.by else ""
    return _count_words(term) + each


def _count_words(term: ir.RandomTerm) -> str:
    kind, homogeneous = term.covariance.kind, term.covariance.homogeneous
    k = num_columns(term.columns)
    count = num_parameters(kind, homogeneous, k, term.covariance.rank)
    if term.group.reserved is not None:
        return "not available for fitting"
    counted = f"{count or 'no'} variance parameter{'' if count == 1 else 's'}"
    if KINDS[kind].takes_matrix:
        return counted
    if term.group.distribution == "student":
        counted += " and the degrees of freedom"
    if term.block:
        return f"in the block {term.block}"
    if not term.columns.terms or (homogeneous and k > 1):
        return counted
    if rank := term.covariance.rank:
        fewer = f" - {rank * (rank - 1) // 2}" if rank > 1 else ""
        return f"{rank if rank > 1 else ''}k{fewer} variance parameters for k columns"
    general = KINDS[kind].how_many(bool(homogeneous))
    if KINDS[kind].has_positions:
        return f"{general} variance parameters" + ("" if general.isdigit() else " for k positions")
    if KINDS[kind].is_over_time:
        return f"{general} variance parameters" + ("" if general.isdigit() else " for k levels")
    names = sum_text(ir.TermSum(False, term.columns.terms)).removeprefix("0 + ")
    verb = "is" if len(term.columns.terms) == 1 else "are"
    whole = " in all" if k > 1 else ""
    return f"{counted} if {names} {verb} numeric; {general} for the k columns{whole} of a factor"
