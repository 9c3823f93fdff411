"""Draws from a posterior distribution as ArviZ's groups: posterior, warm-up, statistics, rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.absent import has_rows
from lmeformula.design.design import Design
from lmeformula.drawn import SURROGATES, Draws, Stats
from lmeformula.fit import FittedModel
from lmeformula.prediction.distribution import draw_rows, response_arrays
from lmeformula.prediction.over_draws import at_draw
from lmeformula.prediction.predictor import linear_predictor
from lmeformula.prediction.row_densities import CHUNK, row_densities

# The name of a group, and its variables by their dimensions and values.
Variables = dict[str, tuple[tuple[str, ...], Any]]
# Log-likelihoods of more rows times draws are left out.
MOST_CHEAP = 2**25
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
    if draws.surrogate is not None:
        how = {"draws": f"from {SURROGATES[draws.effort.surrogate]}, by variational inference"}
    found: dict[str, tuple[Variables, dict[str, str]]] = {
        "posterior": (of_parameters | of_effects, how),
        "sample_stats": (_stats(draws), how),
    }
    if draws.warmup_values.shape[1]:
        found["warmup_posterior"] = (_named(fit, draws.warmup_values), how)
        found["warmup_sample_stats"] = (_of_transitions(draws.warmup_stats), how)
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


def _stats(draws: Draws) -> Variables:
    if draws.surrogate is None:
        return _of_transitions(draws.stats)
    found: Variables = {"lp": (("chain", "draw"), draws.stats.lp)}
    if not draws.effort.importance:
        found["log_importance"] = (("chain", "draw"), draws.surrogate.log_ratios)
    return found


def _of_transitions(stats: Stats) -> Variables:
    found: Variables = {
        name: (("chain", "draw"), values.astype(bool) if name in TRUE_OR_FALSE else values)
        for name, values in stats._asdict().items()
    }
    found["tree_depth"] = (("chain", "draw"), stats.tree_depth)
    return found


def log_likelihoods(fit: FittedModel, draws: Draws) -> Floats:
    """(c, m, n) log densities of the rows at each draw of parameters and effects."""
    psi = draws.psi.reshape(-1, draws.psi.shape[2])
    effects = [each.reshape(-1, *each.shape[2:]) for each in draws.effects]
    found = row_densities(fit, psi, effects)
    return found.reshape(*draws.psi.shape[:2], -1)


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
