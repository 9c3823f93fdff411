"""The observed information from the draws of one E-step: the derivative of the mean score, on the same draws.

With psi the parameters, z the sampler's coordinates and c(z; psi) a score whose posterior mean is the gradient
of the log-likelihood, differentiating that mean gives

    d/dpsi E[c] = E[dc/dpsi] + Cov[c, dr/dpsi],    r(z; psi) = log p(y, u(z; psi)) + |z|^2 / 2,

at fixed z. The whitening moves along with psi: r and c then hardly vary over the draws, and not at all where
the posterior is Gaussian, so that the part that the Laplace approximation sees is exact and Monte Carlo
estimates only the difference. In fixed coordinates this is Louis's identity, whose difference of two large
terms is lost in noise where most information is missing.

References: Louis (1982), JRSS B 44, 226-233; Glasserman (2003), Monte Carlo methods in financial engineering,
chapter 7, for derivatives on common random numbers.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.em.draws import Draws, with_coefficients
from lmeformula.em.evaluate import calls_of, evaluator, together
from lmeformula.em.observed import Information
from lmeformula.em.programs import Engine, num_rows
from lmeformula.em.types import Problem

# Step of the differences, in conditional standard errors. The error of a central one is a sixth of its square
# times the relative third derivative, that of one to a single side half its length times the same.
STEP = {"float64": 0.02, "float32": 0.3}
ONE_SIDED_STEP = 0.002
# The same where the likelihood is no parabola over the standard error, in units of what is curved.
CURVED_STEP = {"float64": 0.002, "float32": 0.3}
# Steps that are longer than they should be by the information that they give, by so much, are taken again:
# but not for ever, as rounding grows while they shrink.
TOO_LONG, MOST_RETRIES = 4.0, 3
# Beyond this many rows differences are to one side, a third of the work or less, for which the report does
# without the information's change from where the draws were taken to the estimates; beyond fewer where these
# are next to there. Of few rows that change is a part of the errors of standard errors.
MOST_CENTRAL_ROWS, FEW_ROWS = 20_000, 5_000
# Draws of all chains together to begin with: as many as this many rows hold, within limits; more, where there
# are more, until the standard errors are known to this fraction of themselves. Of few rows the posterior is
# skew, and with it the noise: fewer draws that look sharp would be those whose information came out too high.
FIRST_ROWS, FIRST_DRAWS = 600_000, (8, 2048)
ENOUGH = 0.01
# A distance to the maximum, in standard errors, that the information changes on, where it costs more to know.
FAR = 0.02


def information_of(
    engine: Engine,
    params: Floats,
    draws: Draws,
    metric: Floats,
    basis: Floats,
    coefficients: Floats,
    distance: Floats,
) -> Information:
    """Estimate the observed information from draws, at the maximum that they say there is.

    Args:
      engine: what runs; its problem must know its geometry.
      params: (d,) where the draws were taken.
      draws: the draws.
      metric: (d, d) rough observed information, for the lengths of the differences.
      basis: (d, f) orthonormal directions that are free.
      coefficients: (d,) of the control variates.
      distance: (d,) from there to the maximum.
    """
    kept = len(draws.positions)
    rows, dtype = max(1, num_rows(engine.problem.data)), engine.programs.dtype
    is_far = np.sqrt(distance @ metric @ distance) > FAR
    # Single precision has no digits for short steps.
    is_central = rows <= (MOST_CENTRAL_ROWS if is_far else FEW_ROWS) or dtype == "float32"
    signs = (1.0, -1.0) if is_central else (1.0,)
    length = STEP[dtype] if is_central else ONE_SIDED_STEP
    lengths = length / np.sqrt(np.einsum("df,de,ef->f", basis, metric, basis))
    lengths = np.minimum(lengths, _longest(engine.problem, basis, CURVED_STEP[dtype]))
    first = int(np.clip(FIRST_ROWS // rows, *FIRST_DRAWS))
    used = min(kept, -(-first // draws.excess.shape[1]))
    # To one side the centre would cost as much as a difference: it moves only where that is worth it.
    at = params + distance if is_central or is_far else params
    work = _Work(engine, params, at, draws, basis, lengths, signs, coefficients)
    ends = _evaluate(work, 0, used)
    retries = MOST_RETRIES
    while True:
        found = _assemble(work, ends)
        with np.errstate(divide="ignore"):
            own = length / np.sqrt(np.abs(np.diag(found.matrix)))
        if retries and (work.lengths > TOO_LONG * own).any():
            retries -= 1
            # By what came out the steps led to where the likelihood is another one.
            work = work._replace(lengths=np.minimum(work.lengths, own))
            ends = _evaluate(work, 0, used)
            continue
        if used == kept or not found.is_usable:
            return found
        stderr = np.sqrt(np.diag(np.linalg.inv(found.matrix)))
        excess = float(np.max(found.noise(basis.T) / stderr, initial=0.0)) / ENOUGH
        if excess <= 1.0:
            return found
        more = min(kept, int(np.ceil(1.2 * excess**2 * used)))
        further = _evaluate(work, used, more)
        ends = _Ends(*(np.concatenate(pair, axis=2) for pair in zip(ends, further, strict=True)))
        used = more


def _longest(problem: Problem, basis: Floats, length: float) -> Floats:
    """(f,) steps of differences that are short beside what is curved, or inf where nothing is known of that.

    A log standard deviation that the data hardly know has an error of many units, over which the likelihood
    is no parabola; the longest step that a problem allows says over how much it is one.
    """
    if problem.max_step is None:
        return np.full(basis.shape[1], np.inf)
    largest = np.max(np.abs(basis) / problem.max_step[:, None], axis=0, initial=0.0)
    return np.asarray(length / np.maximum(largest, np.finfo(float).tiny))


class _Work(NamedTuple):
    """What is differenced and where, see `information_of`: draws of `params`, differences at `at`."""

    engine: Engine
    params: Floats
    at: Floats
    draws: Draws
    basis: Floats
    lengths: Floats
    signs: tuple[float, ...]
    coefficients: Floats


class _Ends(NamedTuple):
    """Scores (f, s, m, f, c) and log densities (f, s, m, c), above and perhaps below, for each difference.

    Those at the centre and at the corners of `_pairs` stand in arrays with one place for s, the centre's with
    one for f as well.
    """

    scores: Floats
    values: Floats
    centre_scores: Floats
    centre_values: Floats
    corner_scores: Floats
    corner_values: Floats


def _assemble(work: _Work, ends: _Ends) -> Information:
    draws, lengths = work.draws, work.lengths
    f, sides, used = ends.values.shape[:3]
    centre, values = ends.centre_scores[0, 0], ends.centre_values[0, 0]
    # The draws stand for those of the centre, weighted: the whitening came along, and they weigh much the same.
    weights = np.exp(values - draws.values[:used] - (values - draws.values[:used]).max())
    weights /= weights.mean()
    deviation = centre - (weights[:, None] * centre).mean(axis=(0, 2), keepdims=True)
    apart = sides * lengths[:, None, None, None]
    others = (ends.scores[:, 1], ends.values[:, 1]) if sides == 2 else (centre, values)
    slope = (ends.scores[:, 0] - others[0]) / apart
    change = (ends.values[:, 0] - others[1]) / apart[:, 0]
    change = change - (weights * change).mean(axis=(1, 2), keepdims=True)
    parts = -(slope + deviation * change[:, :, None]).transpose(1, 0, 2, 3)
    # The matrix is symmetric in expectation.
    parts = 0.5 * (parts + parts.transpose(0, 2, 1, 3))
    by_draw = weights[:, None, None]
    mean = (by_draw * parts).mean(axis=(0, 3), keepdims=True)
    taken = np.einsum("mdc,df->mfc", with_coefficients(draws, work.coefficients), work.basis)
    # What the further draws say of the score where they were taken, they say here.
    further = taken.mean(axis=(0, 2)) - taken[:used].mean(axis=(0, 2))
    return Information(
        params=work.at,
        basis=work.basis,
        matrix=mean[0, :, :, 0],
        series=mean + by_draw * (parts - mean),
        change=_bend(lengths, ends, draws, used) if sides == 2 else np.zeros((f, f, f)),
        scores=taken[:used],
        share=used / draws.num_draws,
        score=(weights[:, None] * centre).mean(axis=(0, 2)) + further,
    )


def _bend(lengths: Floats, ends: _Ends, draws: Draws, used: int) -> Floats:
    """How the information changes, from second differences of the mean score, its draws weighted anew."""
    size = len(lengths)

    def means(scores: Floats, values: Floats) -> Floats:
        weights = values - draws.values[:used]
        weights = np.exp(weights - weights.max(axis=(2, 3), keepdims=True))
        weights /= weights.sum(axis=(2, 3), keepdims=True)
        return np.asarray(np.einsum("fsmc,fsmgc->fsg", weights, scores))

    sides = means(ends.scores, ends.values)
    between = means(ends.centre_scores, ends.centre_values)[0, 0]
    twice = (sides.sum(axis=1) - 2.0 * between) / lengths[:, None] ** 2
    change = np.zeros((size, size, size))
    for i, j in np.ndindex(size, size):
        change[i, i, j] = change[i, j, i] = change[j, i, i] = -twice[i, j]
    for (i, j), corner in zip(
        _pairs(size), means(ends.corner_scores, ends.corner_values)[:, 0], strict=True
    ):
        mixed = (corner - sides[i, 0] - sides[j, 0] + between) / (lengths[i] * lengths[j])
        for k in set(range(size)) - {i, j}:
            for place in permutations((i, j, k)):
                change[place] = -mixed[k]
    return change


def _pairs(size: int) -> list[tuple[int, int]]:
    """Pairs of directions such that any three directions have one: those within either half."""
    return [*combinations(range(size // 2), 2), *combinations(range(size // 2, size), 2)]


def _evaluate(work: _Work, start: int, stop: int) -> _Ends:
    """Scores and densities of the draws from `start` to `stop`, at the centre and the ends."""
    programs, problem, basis = work.engine.programs, work.engine.problem, work.basis
    geometry = problem.geometry if problem.nearby is None else problem.nearby
    assert geometry is not None
    calls = calls_of(work.engine, work.draws.positions[start:stop])
    is_known = bool((work.at == work.params).all())
    places = [] if is_known else [work.at]
    for direction, length in zip(basis.T, work.lengths, strict=True):
        places += [work.at + sign * length * direction for sign in work.signs]
    sides = len(places) + is_known
    if len(work.signs) == 2:
        steps = work.lengths * basis
        places += [work.at + steps[:, i] + steps[:, j] for i, j in _pairs(len(work.lengths))]
    # What remembers its last place is asked for one after the other.
    at_once = 1 if problem.nearby is None else programs.num_workers

    def begin(at: Floats) -> list[Future[tuple[Floats, Floats, int]]]:
        evaluate = evaluator(work.engine, at, geometry(at), work.coefficients)
        return [pool.submit(evaluate, call) for call in calls]

    with ThreadPoolExecutor(programs.num_workers) as pool, ThreadPoolExecutor(at_once) as beside:
        ends = list(beside.map(begin, places))
        found = [together([end.result() for end in each], programs) for each in ends]
    if is_known:
        taken = with_coefficients(work.draws, work.coefficients)[start:stop]
        found.insert(0, (taken, work.draws.values[start:stop]))
    scores = np.array([np.einsum("mdc,df->mfc", score, basis) for score, _ in found])
    values = np.array([value for _, value in found])
    shape = (basis.shape[1], len(work.signs))
    return _Ends(
        scores=scores[1:sides].reshape(*shape, *scores.shape[1:]),
        values=values[1:sides].reshape(*shape, *values.shape[1:]),
        centre_scores=scores[None, :1],
        centre_values=values[None, :1],
        corner_scores=scores[sides:, None],
        corner_values=values[sides:, None],
    )
