"""Draws from a posterior distribution as ArviZ's groups: posterior, warm-up, statistics, rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.absent import has_rows
from lmeformula.design.design import Design
from lmeformula.drawn import Draws, Stats
from lmeformula.family import log_density
from lmeformula.fit import FittedModel
from lmeformula.prediction.distribution import draw_rows, response_arrays
from lmeformula.prediction.over_draws import at_draw
from lmeformula.prediction.predictor import add_effects, linear_predictor

# The name of a group, and its variables by their dimensions and values.
Variables = dict[str, tuple[tuple[str, ...], Any]]
# Log-likelihoods of more rows times draws are left out.
MOST_CHEAP = 2**25
# Numbers that are worked out at a time.
CHUNK = 2**21
TRUE_OR_FALSE = ("diverging", "reached_max_treedepth")


def posterior_groups(
    fit: FittedModel, *, rows: bool, num_draws: int, seed: int
) -> dict[str, tuple[Variables, dict[str, str]]]:
    """The groups that ArviZ has of draws, by name: variables, and attributes.

    Args:
      fit: a fit with draws.
      rows: whether to have those with a number for each row and draw.
      num_draws: responses that are drawn for each row, at most.
      seed: of these.
    """
    draws = fit.draws
    assert draws is not None
    of_parameters = _named(fit, draws.values)
    of_effects: Variables = {
        f"{column}|{block.name}": (
            ("chain", "draw", f"{block.group}_level"),
            effects[:, :, :, j],
        )
        for block, effects in zip(fit.model.design.terms, draws.effects, strict=True)
        for j, column in enumerate(block.columns)
    }
    how = {"draws": "by the no-U-turn sampler"}
    found: dict[str, tuple[Variables, dict[str, str]]] = {
        "posterior": (of_parameters | of_effects, how),
        "sample_stats": (_stats(draws.stats), how),
    }
    if draws.warmup_values.shape[1]:
        found["warmup_posterior"] = (_named(fit, draws.warmup_values), how)
        found["warmup_sample_stats"] = (_stats(draws.warmup_stats), how)
    design = fit.model.design
    if not (rows and has_rows(design)):
        return found
    name, dims = design.response_name, ("chain", "draw", "row")
    if design.n * draws.num_chains * draws.num_draws <= MOST_CHEAP:
        found["log_likelihood"] = ({name: (dims, log_likelihoods(fit, draws))}, how)
    few = max(1, min(num_draws, CHUNK * 16 // max(design.n, 1)) // draws.num_chains)
    step = max(1, draws.num_draws // few)
    simulated = _predictive(fit, design, draws, step, seed)
    found["posterior_predictive"] = ({name: (dims, simulated)}, how)
    return found


def _named(fit: FittedModel, values: Floats) -> Variables:
    """Parameters (c, m, d) by their names."""
    return {name: (("chain", "draw"), values[:, :, j]) for j, name in enumerate(fit.param_names)}


def _stats(stats: Stats) -> Variables:
    found: Variables = {
        name: (("chain", "draw"), values.astype(bool) if name in TRUE_OR_FALSE else values)
        for name, values in stats._asdict().items()
    }
    found["tree_depth"] = (("chain", "draw"), stats.tree_depth)
    return found


def _over_chunks(
    fit: FittedModel, draws: Draws, work: Callable[[Floats, Floats], Floats]
) -> Floats:
    """(c, m, n) of predictors (s, K, n) and own parameters (v, s) of draws, some at a time."""
    design, space = fit.model.design, fit.model.space
    fixed = linear_predictor(fit, design, with_random=False)
    psi = draws.psi.reshape(-1, space.size)
    effects = [each.reshape(-1, *each.shape[2:]) for each in draws.effects]
    of_columns = np.eye(design.num_predictors)[:, list(design.column_predictors)]
    found = np.empty((len(psi), design.n))
    size = max(1, CHUNK // max(design.n, 1))
    for start in range(0, len(psi), size):
        part = slice(start, start + size)
        moved = psi[part, : space.num_fixed] - fit.params.beta
        eta = fixed + (of_columns * moved[:, None, :]) @ design.X.T
        add_effects(eta, design.terms, [each[part] for each in effects])
        own = np.array([space.family_values(each) for each in psi[part]]).reshape(len(moved), -1)
        found[part] = work(eta, own.T)
    return found.reshape(*draws.psi.shape[:2], design.n)


def log_likelihoods(fit: FittedModel, draws: Draws) -> Floats:
    """(c, m, n) log densities of the rows at each draw of parameters and effects."""
    import tensorflow as tf

    family = fit.model.family
    response = tuple(tf.constant(array, tf.float64) for array in family.response(fit.model.design))

    def work(eta: Floats, own: Floats) -> Floats:
        # The density has the predictors and then the rows in front.
        turned = tf.constant(family.as_taken(np.moveaxis(eta, 0, -1), 0))
        values = tuple(tf.constant(value, tf.float64) for value in own)
        return np.asarray(log_density(family, turned, response, values)).T

    return _over_chunks(fit, draws, work)


def _predictive(fit: FittedModel, design: Design, draws: Draws, step: int, seed: int) -> Floats:
    """(c, m / step, n) responses that are drawn at every so many draws."""
    response = response_arrays(fit, design)
    found = [
        [
            _one(at_draw(fit, chain, number), design, response, [seed, chain, number])
            for number in range(0, draws.num_draws, step)
        ]
        for chain in range(draws.num_chains)
    ]
    return np.array(found)


def _one(fit: FittedModel, design: Design, response: Any, seed: list[int]) -> Floats:
    return draw_rows(fit, linear_predictor(fit, design), response, np.random.SeedSequence(seed))
