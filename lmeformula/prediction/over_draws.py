"""A fit by draws from its posterior distribution: what is predicted, averaged over them, or its quantiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.design import Design, NewRows
from lmeformula.fit import FittedModel
from lmeformula.prediction.distribution import draw_rows, response_arrays
from lmeformula.prediction.predictor import linear_predictor, predicted_at
from lmeformula.prediction.unseen import with_drawn_levels

# Draws that are predicted from, evenly spread over all of them: of means, whose Monte Carlo error is then a
# fiftieth of their standard deviation, and of residuals, which take more work each.
OF_MEANS, OF_RESIDUALS = 2000, 400


def at_draw(fit: FittedModel, chain: int, number: int) -> FittedModel:
    """The fit with the parameters and effects of one draw in the place of their means."""
    draws = fit.draws
    assert draws is not None
    return replace(
        fit,
        params=fit.model.space.to_natural(draws.psi[chain, number]),
        modes=tuple(effects[chain, number] for effects in draws.effects),
        draws=None,
    )


def at_draws(fit: FittedModel, count: int) -> Iterator[FittedModel]:
    """The fit at draws that are evenly spread over all of them."""
    assert fit.draws is not None
    for chain, number in fit.draws.chosen(count):
        yield at_draw(fit, chain, number)


def at_random_draw(fit: FittedModel, seed: np.random.SeedSequence) -> FittedModel:
    """The fit at a draw that is chosen by a seed; a fit without draws as it is."""
    if fit.draws is None:
        return fit
    random = np.random.default_rng(seed)
    return at_draw(
        fit,
        int(random.integers(fit.draws.num_chains)),
        int(random.integers(fit.draws.num_draws)),
    )


def over_draws(
    fit: FittedModel, of_one: Callable[[FittedModel], Floats], count: int = OF_RESIDUALS
) -> Floats:
    """The mean over draws of something (...) of the fit at one of them."""
    return _mean(of_one(each) for each in at_draws(fit, count))


def _mean(each: Iterable[Floats]) -> Floats:
    """The mean of arrays, one at a time."""
    total, count = np.zeros(()), 0
    for one in each:
        total, count = total + one, count + 1
    return np.asarray(total / count)


def predictors_at(
    fit: FittedModel,
    rows: Design | NewRows,
    kept: Sequence[bool],
    *,
    samples: bool,
    seed: np.random.SeedSequence,
) -> Floats:
    """(K, n) predictors of rows at one draw, effects of unseen levels zero, or from their distribution."""
    eta = linear_predictor(fit, rows, with_random=tuple(kept))
    if not samples:
        return eta
    for place, (block, prior, is_kept) in enumerate(
        zip(rows.terms, fit.params.distributions, kept, strict=True)
    ):
        if not (is_kept and block.has_unseen.any()):
            continue
        nothing = np.zeros((1, len(block.levels), len(block.columns)))
        child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, place))
        block, effects = with_drawn_levels(block, nothing, prior, [child])
        eta = eta + block.added(block.of_rows(effects), rows.num_predictors)[0]
    return eta


def predictions(
    fit: FittedModel,
    kind: str,
    rows: Design | NewRows,
    kept: Sequence[bool],
    *,
    samples: bool = False,
    seed: int = 0,
    count: int = OF_MEANS,
) -> Iterator[Floats]:
    """(n, c) what is predicted at one draw after the other.

    Args:
      fit: a fit with draws.
      kind: "link", "response" or "prob"; see `predictor.predicted_at`.
      rows: fitted or new ones.
      kept: whether each term adds its effects.
      samples: whether levels that are unseen have effects, drawn from their distribution at the draw.
      seed: of these.
      count: of draws.
    """
    for number, each in enumerate(at_draws(fit, count)):
        source = np.random.SeedSequence(seed, spawn_key=(number,))
        eta = predictors_at(each, rows, kept, samples=samples, seed=source)
        yield predicted_at(each, kind, eta)


def mean_prediction(
    fit: FittedModel,
    kind: str,
    rows: Design | NewRows,
    kept: Sequence[bool],
    *,
    samples: bool,
) -> Floats:
    """(n, c) posterior means of what is predicted."""
    return _mean(predictions(fit, kind, rows, kept, samples=samples))


def quantiles_of(each: Floats, level: float) -> Floats:
    """(3, ...) mean, and the quantiles between which a share `level` of draws (m, ...) lies."""
    ends = np.quantile(each, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return np.concatenate([each.mean(axis=0)[None], ends])


def response_quantiles(
    fit: FittedModel, rows: Design | NewRows, drawn: Floats, level: float
) -> Floats:
    """(2, n) quantiles of drawn responses (m, n), as shares of trials, and categories counted from one."""
    family = fit.model.family
    response = response_arrays(fit, rows)
    trials = response[1] if family.has_trials else np.ones(drawn.shape[1])
    first = 1.0 if family.categories is not None else 0.0
    tails = [0.5 - level / 2, 0.5 + level / 2]
    # Quantiles that are values of the response, which may be whole numbers.
    return np.asarray(np.quantile(drawn / trials + first, tails, axis=0, method="inverted_cdf"))


def drawn_responses(
    fit: FittedModel,
    rows: Design | NewRows,
    kept: Sequence[bool],
    *,
    samples: bool,
    seed: int,
    count: int,
) -> Floats:
    """(m, n) a response of each row at each draw, from the posterior predictive distribution."""
    response = response_arrays(fit, rows)
    found = []
    for number, each in enumerate(at_draws(fit, count)):
        source = np.random.SeedSequence(seed, spawn_key=(number,))
        eta = predictors_at(each, rows, kept, samples=samples, seed=source)
        key = np.random.SeedSequence(seed, spawn_key=(number, 2**20))
        found.append(draw_rows(each, eta, response, key))
    return np.array(found)
