"""Responses drawn from a fitted model, for its own rows or for new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows, ResponseBlock, TermBlock
from lmeformula.fit import FittedModel, check_single_rows
from lmeformula.model.compile import Model
from lmeformula.prediction.answers import Target, answered
from lmeformula.prediction.distribution import (
    draw_normal_rows,
    draw_rows,
    needs_response,
    response_arrays,
)
from lmeformula.prediction.kept_effects import ReForm, kept_terms, some_effects
from lmeformula.prediction.over_draws import at_random_draw
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.requested import NEW_LEVELS, Requested, Wanted, requested
from lmeformula.prediction.unseen import with_drawn_levels

# 2 GiB of drawn numbers.
MOST_NUMBERS = 2**28
# Responses that are drawn at a time, and numbers, where they are drawn by TensorFlow.
MOST_AT_A_TIME, FEW_NUMBERS = 64, 20_000
# Seeds of unseen levels stand beside those of the blocks, which are numbered from 0.
OF_UNSEEN = 2**32 - 1


@kinds.takes(
    n=kinds.count,
    seed=kinds.seed,
    re_form=some_effects,
    new_levels=kinds.one_of(*NEW_LEVELS),
    to=kinds.optional(kinds.path),
)
def simulate(
    fit: FittedModel,
    n: int = 1,
    *,
    seed: int = 0,
    re_form: ReForm = "NA",
    newdata: object = None,
    new_levels: str = "error",
    offset: object = None,
    weights: object = None,
    to: Target = None,
) -> Any:
    """Draw responses from a fitted model.

    As in lme4's `simulate`, random effects are drawn anew each time unless `re_form` says which to keep as
    `fit.ranef` has them. (`fit.predict` has the other default: there None keeps them.) Parameters are at
    their estimates; of a fit by method="nuts" each response is of another draw of them, and of the effects.

    Args:
      fit: a fitted model.
      n: how many responses to draw for each row.
      seed: of the draws. The first draws with a seed are the same whatever n is.
      re_form: "NA" draws all random effects; None keeps all at their modes; a formula with some of the terms,
        such as "~ (1 | g)", keeps those and draws the others; a mapping says it by predictor, as in `predict`.
      newdata: a data frame with the columns that the formula uses, or any source that `lf.fit` takes; the
        fitted rows by default. Columns of the response are needed where it has trials or prior weights, and
        only those are read.
      new_levels: levels that the fit has not seen, in terms that are kept: "error"; "population", an effect
        of zero; "sample", an effect from the distribution. Where effects are drawn, theirs are drawn as well.
      offset: as in `predict`.
      weights: prior weights of `newdata` where the fit was given an array.
      to: a Parquet file that the answer is written to, as in `predict`.
    Returns:
      frame: a row for each row of the data, indexed as predictions are, and columns sim_1, ..., sim_n; each of
        the kind of the response: categories, truth values, numbers; successes out of trials as their
        number. NaN for rows of `newdata` with a missing value. `fit.refit` takes a column. With `to` the file,
        as `predict` has it.
    Raises:
      FormulaDataError: if `newdata` lacks a column, or has new levels and `new_levels` is "error".
      ModelError: if an option is not one of those named here, or the fit was loaded without its rows, or has
        rows with a frequency, and there is no `newdata`: `fit.by_observation.simulate()` draws for each.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5, of lme4's `simulate`.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> simulate(fit, 3, seed=1).round(1).head(2)
         sim_1  sim_2  sim_3
      0  ...
      1  ...
    """
    kept = kept_terms(fit, re_form)
    is_new = tuple(not keep or new_levels == "sample" for keep in kept)

    def work(asked: Requested) -> pd.DataFrame:
        asked.check_size(n, MOST_NUMBERS, "n", "responses")
        response = response_arrays(fit, asked.rows)
        sampler = Sampler(fit, asked.rows, response, kept, is_new, asked.number)
        return pd.DataFrame(
            {
                f"sim_{number + 1}": _of_its_kind(sampler, drawn, asked)
                for number, drawn in enumerate(responses(sampler, n, seed))
            },
            index=asked.index,
        )

    wanted = Wanted(
        kept,
        new_levels,
        groups=True,
        sizes=needs_response(fit),
        offset=offset,
        weights=weights,
    )
    return answered(requested(fit, newdata, wanted), work, newdata, to)


class Sampler(NamedTuple):
    """What draws of responses start from.

    Attributes:
      fit: the fitted model.
      rows: its rows, or new ones.
      response: the response arrays of the rows.
      kept: whether each term is kept at its modes.
      is_new: whether levels of each term that the fit has not seen get an effect.
      block: the number of these rows' block: those of others have the same effects, and errors of their own.
    """

    fit: FittedModel
    rows: Design | NewRows
    response: tuple[Floats, ...]
    kept: tuple[bool, ...]
    is_new: tuple[bool, ...]
    block: int = 0


def sampler_of(fit: FittedModel) -> Sampler:
    """Of the fitted rows, with all random effects drawn."""
    design = fit.model.design
    terms = design.terms
    response = response_arrays(fit, design)
    return Sampler(fit, design, response, (False,) * len(terms), (True,) * len(terms))


def responses(sampler: Sampler, n: int, seed: int) -> Iterator[Floats]:
    """Draw n responses, each (rows,) as the family counts it; see `draw_rows`.

    Args:
      sampler: the model and its rows.
      n: how many.
      seed: of all.
    """
    fit, rows = sampler.fit, sampler.rows
    if isinstance(rows, Design):
        check_single_rows(fit, "drawn responses")
    if fit.draws is not None:
        for one in np.random.SeedSequence(seed).spawn(n):
            own = sampler._replace(fit=at_random_draw(fit, one))
            yield from responses(own, 1, int(one.generate_state(1)[0]))
        return
    fixed = linear_predictor(fit, rows, with_random=sampler.kept)
    source, size = np.random.SeedSequence(seed), _at_a_time(fit, rows)
    for start in range(0, n, size):
        sequences = source.spawn(size)
        eta = _predictors(sampler, fixed, sequences)
        if fit.model.family.is_normal:
            keys = [_child(one, sampler.block) for one in sequences]
            drawn = draw_normal_rows(fit, eta, sampler.response, keys)
        else:
            key = _child(sequences[0], sampler.block)
            drawn = draw_rows(fit, eta, sampler.response, key)
        yield from drawn[: n - start]


def _child(sequence: np.random.SeedSequence, *places: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, *places))


def _at_a_time(fit: FittedModel, rows: Design | NewRows) -> int:
    """How many responses are drawn at a time: the same whatever their number, so that the first are the same.

    A call of TensorFlow takes as long for one of a few rows as for many.
    """
    return min(MOST_AT_A_TIME, max(1, FEW_NUMBERS // max(1, len(rows.offset))))


def _predictors(
    sampler: Sampler, fixed: Floats, sequences: Sequence[np.random.SeedSequence]
) -> Floats:
    """(m, K, n) linear predictors with effects that are drawn, beside the fixed ones (K, n)."""
    fit, rows = sampler.fit, sampler.rows
    randoms = [np.random.default_rng(one) for one in sequences]
    eta = np.tile(fixed, (len(randoms), 1, 1))
    for place, (block, prior, kept, is_new) in enumerate(
        zip(rows.terms, fit.params.distributions, sampler.kept, sampler.is_new, strict=True)
    ):
        effects = related(block, prior.draws(randoms, len(block.levels)))
        if kept:
            effects[...] = 0.0
        if is_new:
            seeds = [_child(one, OF_UNSEEN, place) for one in sequences]
            block, effects = with_drawn_levels(block, effects, prior, seeds)
        eta += block.added(block.of_rows(effects), rows.num_predictors)
    return eta


def related(block: TermBlock, effects: Floats) -> Floats:
    """Effects (m, l, k) of a term's levels, from such of independent ones."""
    if block.relation is None:
        return effects
    return np.stack([block.relation.outward(one) for one in effects])


def with_drawn(fit: FittedModel, drawn: Floats) -> Design:
    """The design of a fit with drawn values as its response.

    Args:
      fit: a fitted model with its rows.
      drawn: (n,) as `draw_rows` gives them.
    """
    return with_drawn_response(fit.model, drawn)


def with_drawn_response(model: Model, drawn: Floats) -> Design:
    """The design of a model with drawn values (n,) as its response."""
    design = model.design
    assert design.response is not None
    block = design.response
    values = _values(model, block, design.weights, drawn)
    if block.kind == "matrix":
        values = np.column_stack([drawn, block.values.sum(axis=1) - drawn])
    return replace(design, response=replace(block, values=values))


def _values(model: Model, block: ResponseBlock, weights: Floats | None, drawn: Floats) -> Floats:
    """Drawn responses (n,) as a response block has them; of two columns the successes."""
    family = model.family
    if family.has_trials and block.kind != "matrix" and block.trials is None:
        # Without weights, which count trials here, a row is one yes or no.
        return drawn if weights is None else drawn / weights
    if family.categories is None:
        return drawn
    if not block.levels:
        return drawn + 1.0
    place = [block.levels.index(name) for name in family.categories(model.design)]
    return np.array(place, np.float64)[drawn.astype(np.int64)]


def _of_its_kind(sampler: Sampler, drawn: Floats, asked: Requested) -> Any:
    """A column of a data frame, with a missing value for each incomplete row."""
    fit, rows = sampler.fit, sampler.rows
    block = fit.model.design.response
    assert block is not None
    values = asked.spread_out(_values(fit.model, block, rows.weights, drawn))
    is_missing = np.isnan(values)
    if block.levels:
        codes = np.where(is_missing, -1, values).astype(np.int64)
        return pd.Categorical.from_codes(codes, list(block.levels), ordered=block.kind == "ordered")
    if block.kind == "logical" and not fit.model.family.base.is_normal:
        truth = pd.array(values == 1.0, dtype="boolean")
        truth[is_missing] = pd.NA
        return truth if is_missing.any() else truth.to_numpy(bool)
    return values
