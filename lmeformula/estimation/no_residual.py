"""Gaussian models without a residual, exactly: a share of the term of all rows stands as one."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.less_residual import less_residual
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design
from lmeformula.em.outcome import Outcome
from lmeformula.errors import FormulaDataError
from lmeformula.estimation.claims import without_limit
from lmeformula.estimation.finish import Effects, finish, since
from lmeformula.estimation.gaussian import Ended, factored
from lmeformula.family.runaway import Met
from lmeformula.fit import FittedModel
from lmeformula.history import Ascent, LogLik
from lmeformula.likelihood.gaussian.likelihood import solve_exactly_quickly
from lmeformula.likelihood.gaussian.posterior import conditional
from lmeformula.likelihood.gaussian.sums import Sums, sums
from lmeformula.model.compile import Model
from lmeformula.model.no_residual import STAND_IN, own_term
from lmeformula.model.params import Params

# The share of the responses' sd, about the regression, that stands as a residual first; a tenth of it next ...
FIRST_SHARE = 0.1
# ... so many times: below that the covariance has no full rank.
MOST_SHARES = 5


def estimate_without_residual(
    model: Model, reml: bool, *, data: Sums | None = None, start: Params | None = None
) -> FittedModel:
    """Maximise the likelihood, or the restricted one, of a Gaussian model without a residual.

    Args:
      model: what to fit, one of whose terms has an effect for each row.
      reml: maximise the restricted likelihood.
      data: cross products of the design, if they are at hand.
      start: parameters to start from.
    Returns:
      The fit. What stands for its residual sd of zero is next to nothing beside the least sd of the responses
      in any direction: with it effects are what is left of the responses, up to rounding.
    Raises:
      FormulaDataError: if the fixed effects meet the responses exactly.
    """
    began = time.perf_counter()
    data = sums(model.design) if data is None else data
    term = own_term(model.design)
    shared, ended, is_regular = _with_a_share(data, model, reml, start, term)
    found = ended.found
    covariances = list(found.params.covariances)
    covariances[term] = covariances[term] + shared**2 * np.eye(len(covariances[term]))
    nothing = STAND_IN * float(np.sqrt(np.linalg.eigvalsh(covariances[term])[0]))
    params = Params(found.params.beta, tuple(covariances), np.array([nothing]))
    lambdas = tuple(cholesky_semidefinite(covariance) / nothing for covariance in covariances)
    inner = found.inner
    solution = solve_exactly_quickly(inner.data, inner.factors(lambdas))
    errors, certificate, outcome = ended.errors, ended.certificate, ended.outcome
    if not is_regular:
        met = Met("the least variance", nothing, shared, "effects meet the responses alone", True)
        certificate, outcome = without_limit(met, "zero"), Outcome.DIVERGED
        errors = errors._replace(vcov=np.full_like(errors.vcov, np.nan))
    return finish(
        replace(model, space=model.space.holding(nothing)),
        "exact",
        reml=reml,
        params=params,
        errors=errors,
        effects=Effects(
            _modes(model.design, params.beta, ended.effects.modes, term, (nothing / shared) ** 2),
            inner.effects(*conditional(solution, nothing))[1],
        ),
        loglik=LogLik(ended.loglik, 0.0, model.space.size, model.design.num_observations),
        outcome=outcome,
        certificate=certificate,
        singular=found.singular,
        seconds=since(began),
        ascent=Ascent(found.num_evaluations, found.gain),
    )


def _modes(
    design: Design, beta: Floats, modes: tuple[Floats, ...], term: int, left: float
) -> tuple[Floats, ...]:
    """Effects (l, k) of each term, with what stood as a residual where it belongs.

    Solved for with next to no residual they would keep few digits of what is left of the responses, which says
    how far each row is from the others.

    Args:
      design: of the model.
      beta: (p,) the fixed effects.
      modes: of the fit with a share as a residual.
      term: from which it was taken.
      left: the share of the residuals that is still one.
    """
    assert design.y is not None
    eta = design.offset + design.X @ beta
    for block, effects in zip(design.terms, modes, strict=True):
        eta = eta + np.einsum("nk,nk->n", block.values, effects[block.index])
    block, own = design.terms[term], modes[term].copy()
    own[block.index, block.values.argmax(axis=1)] += (1.0 - left) * (design.y - eta)
    return *modes[:term], own, *modes[term + 1 :]


def _with_a_share(
    data: Sums, model: Model, reml: bool, start: Params | None, term: int
) -> tuple[float, Ended, bool]:
    """A fit with a share of the term's variances as a residual.

    Returns:
      shared: the residual sd.
      ended: the fit.
      is_regular: whether it is that of the model without a residual: the covariance has that much to give.
    """
    spread, last = float(np.sqrt(data.yy / data.n)), None
    for number in range(MOST_SHARES):
        shared = FIRST_SHARE * 0.1**number * spread
        try:
            last = shared, _fit(data, model, reml, start, term, shared)
        except np.linalg.LinAlgError:
            continue
        found = last[1].found
        if found.converged and np.linalg.eigvalsh(found.params.covariances[term])[0] > shared**2:
            return *last, True
    if last is None:
        raise FormulaDataError(
            "the responses leave no covariance of full rank to estimate: fixed effects, or some of the random "
            "ones, meet them exactly",
            hint="Use fewer columns, or let a residual be estimated.",
        )
    return *last, False


def _fit(
    data: Sums, model: Model, reml: bool, start: Params | None, term: int, shared: float
) -> Ended:
    """The fit with a residual sd of `shared` that is taken from a term."""
    terms = list(model.space.terms)
    terms[term] = terms[term]._replace(structure=less_residual(terms[term].structure, shared**2))
    space = replace(model.space.holding(shared), terms=tuple(terms))
    if start is not None:
        covariances = list(start.covariances)
        covariances[term] = covariances[term] - shared**2 * np.eye(len(covariances[term]))
        is_inside = np.linalg.eigvalsh(covariances[term])[0] > 0.0
        start = Params(start.beta, tuple(covariances), np.array([shared])) if is_inside else None
    return factored(data, replace(model, space=space), reml, start)
