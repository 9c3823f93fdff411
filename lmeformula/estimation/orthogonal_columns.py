"""Fits in orthogonal columns, given back as fits of the columns that the user wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lmeformula.arrays import Floats
from lmeformula.fit import FittedModel
from lmeformula.history import Watched
from lmeformula.model.compile import Model
from lmeformula.model.orthogonal import TurnedSpace, orthogonal_model


def in_orthogonal_columns(model: Model, estimate: Callable[[Model], FittedModel]) -> FittedModel:
    """Estimate a model, in orthogonal columns where its own are far from their origin.

    Args:
      model: the model.
      estimate: what estimates it.
    Returns:
      The fit of the model. What it reports follows from its space; effects and their draws are turned here.
    """
    # Priors are of the coefficients of the user's columns.
    turned = None if model.priors else orthogonal_model(model)
    if turned is None:
        return estimate(model)
    fit = estimate(turned)
    space = fit.model.space
    assert isinstance(space, TurnedSpace)
    back = space.turn.terms
    return replace(
        fit,
        model=model,
        params=space.natural(fit.params),
        modes=tuple(each @ turn.T for each, turn in zip(fit.modes, back, strict=True)),
        mode_cov=tuple(turn @ each @ turn.T for each, turn in zip(fit.mode_cov, back, strict=True)),
        watched=None if fit.watched is None else _turned(fit.watched, model, back),
    )


def _turned(watched: Watched, model: Model, back: tuple[Floats, ...]) -> Watched:
    """Draws of the effects of whole levels, one after the other."""
    draws, start = watched.draws.copy(), 0
    for term, turn in zip(model.design.terms, back, strict=True):
        k = len(term.columns)
        count = k * sum(name[0] == term.name for name in watched.names) // k
        levels = draws[:, start : start + count].reshape(len(draws), -1, k)
        draws[:, start : start + count] = (levels @ turn.T).reshape(len(draws), -1)
        start += count
    return watched._replace(draws=draws)
