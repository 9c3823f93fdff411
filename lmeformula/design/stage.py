"""Second stage: a formula meets a table, wherever its rows are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lmeformula.arguments import kinds
from lmeformula.design.build import Contrasts
from lmeformula.design.build import design as design_here
from lmeformula.design.design import Design
from lmeformula.design.partitions import READ_HERE, design_of_partitions
from lmeformula.design.spread import parts_before, spread
from lmeformula.errors import ModelError
from lmeformula.formula import parse
from lmeformula.formula.formula import Formula
from lmeformula.formula.several_formulas import formulas_of
from lmeformula.rows.clients import client_of, is_dask


@kinds.takes(
    contrasts=kinds.optional(kinds.mapping),
    functions=kinds.optional(kinds.functions),
    covariances=kinds.optional(kinds.mapping),
    merge=kinds.flag,
)
def design(
    formula: str | Formula | Mapping[str, str | Formula] | tuple[str, ...] | list[str],
    data: object,
    *,
    contrasts: Contrasts | None = None,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    weights: object = None,
    offset: object = None,
    frequency: object = None,
    covariances: Mapping[str, Any] | None = None,
    merge: bool = False,
    cluster: Any = None,
) -> Design:
    """Build the arrays of a model from its formula and a table, in this process; see the front's `design`.

    Rows where any used variable is missing are left out, then levels that no row has.

    Args:
      formula: text, or what `lf.parse` returned or takes: a mapping of texts for several predictors. Rows are
        complete in all of them; offset and weights belong to the one with the response.
      data: a pandas or polars DataFrame, a pyarrow Table, a mapping of names to arrays, or what
        `lmeformula.rows.source_of` takes. Only the columns that the formula uses are read.
      contrasts: how factors are coded, by variable ("a", or "factor(t)" for such a term): "treatment" (the
        default), "sum", "helmert", "poly", "sas", "diff", ("treatment", base level), or a matrix with a row for
        each level. They hold in the fixed part and in random-effects terms.
      functions: functions of your own that the formula may call, by name; they get arrays and return one.
      weights: prior weights: the name of a column, or (rows of data,) numbers.
      offset: an offset, added to those of the formula: the name of a column, or (rows of data,) numbers.
      frequency: how many identical rows each row stands for, whole numbers: the name of a column, or (rows of
        data,) numbers. The design is that of the repeated rows; those of frequency 0 are left out.
      covariances: known covariances between the levels of grouping factors, (1 | gr(g, cov = A)), by name: a
        data frame with the levels as its index and columns, (matrix, levels), `lf.precision(Q, levels)`, or
        `lf.pedigree(frame)`. All of its levels are levels of the term, also those without rows.
      merge: of rows that are elsewhere, put those that agree in all that is used together, as one with a
        frequency, unless they are hardly alike. The design's rows are then the merged ones.
      cluster: a distributed.Client, with whose workers the rows stay; of a Dask data frame the current one by
        default, and none for False, or where there is no client: then this process reads the rows. Of a Dask
        frame no row comes here; of other tables the rows are here, and sent there.
    Returns:
      The design.
    Raises:
      FormulaSyntaxError: if the text is not a formula.
      FormulaDataError: if the data does not fit the formula; the message names the place and a cure.
      ModelError: for what is not worked out over rows with workers.
      ClusterError: if workers are lost, out of memory, or of other versions.
    Example:
      >>> data = {"y": [1.0, 2.0, 4.0, 3.0], "a": ["u", "v", "u", "v"], "g": [1, 1, 2, 2]}
      >>> made = design("y ~ a + (1 | g)", data)
      >>> made.names, made.terms[0].levels
      (('Intercept', 'a[T.v]'), ('1', '2'))
    """
    client = client_of(cluster, data)
    if client is None or not is_dask(data):
        made = design_here(
            formula,
            data,
            contrasts=contrasts,
            functions=functions,
            weights=weights,
            offset=offset,
            frequency=frequency,
            covariances=covariances,
            merge=merge,
        )
        return made if client is None else spread(made, client, parts_before())
    if functions:
        raise ModelError(
            "functions of your own may look at all rows, which are with several workers",
            hint="Compute what they give beforehand, as columns of the data frame; or " + READ_HERE,
        )
    if covariances:
        raise ModelError(
            "levels with a known covariance are not fitted over rows with workers", hint=READ_HERE
        )
    parsed = parse(formula)
    if any(term.group.members for _, part in formulas_of(parsed) for term in part.random):
        raise ModelError(
            "rows with several levels of a factor, mm(g, h), are not fitted where rows are with workers",
            hint=READ_HERE,
        )
    if merge:
        raise ModelError(
            "rows with workers are not merged", hint="Leave merge out; or " + READ_HERE
        )
    named = {}
    for name, given in (("weights", weights), ("offset", offset), ("frequency", frequency)):
        if given is None or (isinstance(given, str) and name != "frequency"):
            named[name] = given
        else:
            raise ModelError(
                "frequencies are not known to rows with workers"
                if name == "frequency"
                else f"the {name} are an array, and the rows are with workers",
                hint=("" if name == "frequency" else "Give the name of a column. ") + READ_HERE,
            )
    return design_of_partitions(
        parsed,
        data,
        client,
        contrasts=contrasts,
        weights=named["weights"],
        offset=named["offset"],
    )
