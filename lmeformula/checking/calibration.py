"""Whether predicted chances come true, and predicted distributions are as wide as the data."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.checking.leave_one_out import LeftOut, leave_one_out
from lmeformula.checking.redrawn import REDRAWN, redrawn
from lmeformula.family.record import Arrays
from lmeformula.fit import FittedModel, of_observations
from lmeformula.prediction.distribution import chances, draw_rows
from lmeformula.prediction.predictor import category_names, predicted_at
from lmeformula.watch import watched

# What is calibrated as a chance.
CHANCES = ("classes", "shares")
# Simulated numbers in all, and simulated responses.
MOST_BINS = 10_000
MOST_NUMBERS, MOST_SIMULATED, FEWEST_SIMULATED = 40_000_000, 2000, 200
CHUNK, AT_ONCE = 2_000_000, 20_000
# Chances that differ by this many times what a row's own response makes of them are different.
NEAR = 2.0
# Responses drawn to see how predictions from the rest scatter: rows in all, and at least so many responses.
MOST_REDRAWN, FEWEST_REDRAWN = 40_000, 30
# Histograms of uniform numbers that give the simultaneous band.
NUM_HISTOGRAMS = 10_000


class Reliability(NamedTuple):
    """Predicted chances and how often they came true, by bins of the chance.

    Attributes:
      name: what it is the chance of: a category, or "" for yes or a success.
      rows: (b,) rows of each bin.
      predicted: (b,) their mean chance.
      observed: (b,) the share that came true.
      lower, upper: (b,) between which that share lies, with a chance of `level` for each bin, if the chances
        are right.
    """

    name: str
    rows: Ints
    predicted: Floats
    observed: Floats
    lower: Floats
    upper: Floats


class Calibration(NamedTuple):
    """How predictions of rows, each made without the row itself, compare with what was observed.

    Attributes:
      curves: of yes, of successes, or of each category; () for counts and continuous responses.
      heights: (b,) histogram of the probability integral transforms, 1 where all is well; () for curves.
      lower, upper: of the histogram's heights: all of a true model's lie between them with a chance of `level`.
      pit: (n,) the transforms, in the order of the rows.
      level: of the intervals.
    """

    curves: tuple[Reliability, ...]
    heights: Floats
    lower: float
    upper: float
    pit: Floats
    level: float


@kinds.takes(
    num_bins=kinds.optional(kinds.whole(2, MOST_BINS)),
    level=kinds.coverage,
    seed=kinds.seed,
)
@of_observations
def calibration(
    fit: FittedModel, *, num_bins: int | None = None, level: float = 0.95, seed: int = 0
) -> Calibration:
    """Compare predictions with what was observed.

    Each row is predicted from all others, its linear predictor's uncertainty averaged over: in predictions
    of rows that took part in the fit every model looks sure of itself.

    Args:
      fit: a fitted model with its rows.
      num_bins: of the chances, each with equally many rows; or of the histogram, equally wide. By default 10 of
        chances, fewer where there are few rows, and 20 or fewer of the histogram.
      level: of the intervals.
      seed: of simulated responses, and of the places of whole numbers between their two chances.
    Returns:
      For yes and no, successes out of trials and ordered categories, reliability curves; for other
      responses the histogram of the chances of a response up to the one observed, which are uniform where
      the model is true.
    Raises:
      ModelError: for a number of bins or a level that is none, or a model without leave-one-out predictions.
    References:
      Broecker, Smith (2007), Increasing the reliability of reliability diagrams, Weather Forecast. 22, 651-661;
      Czado, Gneiting, Held (2009), Predictive model assessment for count data, Biometrics 65, 1254-1261.
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("cbpp")
      >>> fit = lf.fit("incidence | trials(size) ~ period + (1 | herd)", data, "binomial", method="laplace")
      >>> curve = calibration(fit).curves[0]
      >>> bool((curve.lower <= curve.upper).all())
      True
    """
    family = fit.model.family
    found = leave_one_out(fit)
    if family.categories is not None or family.base.measure in CHANCES:
        with watched("calibration", of=REDRAWN):
            curves = _curves(fit, found, num_bins, level, seed)
        return Calibration(curves, np.zeros(0), 0.0, 0.0, np.zeros(0), level)
    pit = transforms(fit, found, seed)
    n = len(pit)
    bins = num_bins or int(np.clip(n // 25, 4, 20))
    counts = np.histogram(pit, bins, (0.0, 1.0))[0]
    low, high = _band(n, bins, level)
    scale = bins / n
    return Calibration((), counts * scale, low * scale, high * scale, pit, level)


def transforms(fit: FittedModel, found: LeftOut, seed: int) -> Floats:
    """(n,) chances of a response up to the one observed, given the other rows; of counts a place drawn between.

    Args:
      fit: a fitted model with its rows.
      found: its leave-one-out predictors.
      seed: of the places.
    """
    response = fit.model.family.response(fit.model.design)
    if fit.model.family.is_normal:
        total = np.sqrt(found.variances[:, 0, 0] + fit.params.residual_sd**2 / response[1])
        return np.asarray(scipy.stats.norm.cdf((response[0] - found.eta[0]) / total))
    probe, places = np.random.SeedSequence(seed).spawn(2)
    below, upto = np.zeros(found.num_rows), np.zeros(found.num_rows)
    for rows, eta, weights in found.pairs(CHUNK):
        given = tuple(array[rows] for array in response)
        parts = chances(fit, eta, given, probe)
        below += np.bincount(rows, weights * parts[0], len(below))
        upto += np.bincount(rows, weights * parts[1], len(below))
    uniform = np.random.default_rng(places).uniform(size=len(below))
    return np.asarray(np.clip(below + uniform * (upto - below), 0.0, 1.0))


def _curves(
    fit: FittedModel, found: LeftOut, num_bins: int | None, level: float, seed: int
) -> tuple[Reliability, ...]:
    family, n = fit.model.family, fit.nobs
    response = family.response(fit.model.design)
    bins = num_bins or int(np.clip(n // 20, 3, 10))
    draws = int(np.clip(MOST_NUMBERS // n, FEWEST_SIMULATED, MOST_SIMULATED))
    sequences = np.random.SeedSequence(seed).spawn(draws)
    trials = response[1] if family.has_trials else np.ones(n)
    made, others = _made(fit, found), list(_others(fit, seed))
    names = ("",) if family.categories is None else category_names(fit)
    curves = []
    for number, name in enumerate(names):
        if family.has_trials:
            # Rows of many trials vary more than independent ones: their predictor is uncertain for all at once.
            simulated: Iterator[Floats] | Iterator[Mask] = _draw_successes(
                fit, found, response, draws, seed
            )
        else:
            simulated = _draw_hits(made.chances[:, number], sequences)
        chosen = (other.of(number) for other in others)
        size = found.errors / trials
        curves.append(
            _reliability(name, *made.of(number), simulated, trials, bins, level, size, chosen)
        )
    return tuple(curves)


class _Made(NamedTuple):
    """Chances (n, c) of what was predicted, and how often (n, c) it came true."""

    chances: Floats
    hits: Floats

    def of(self, number: int) -> tuple[Floats, Floats]:
        """Those of one column, (n,) each."""
        return self.chances[:, number], self.hits[:, number]


def _made(fit: FittedModel, found: LeftOut) -> _Made:
    family = fit.model.family
    observed = family.response(fit.model.design)[0]
    if family.categories is None:
        return _Made(_averages(fit, "response", found), observed[:, None])
    chances = _averages(fit, "prob", found)
    was = observed.astype(np.int64)[:, None] == np.arange(chances.shape[1])
    return _Made(chances, was.astype(float))


def _others(fit: FittedModel, seed: int) -> Iterator[_Made]:
    """The same of responses that the model draws at its estimates: they depend on each other as the data do."""
    count = int(np.clip(MOST_REDRAWN // fit.nobs, FEWEST_REDRAWN, 4 * FEWEST_REDRAWN))
    for other in redrawn(fit, count, seed):
        yield _made(other, leave_one_out(other))


def _averages(fit: FittedModel, kind: str, found: LeftOut) -> Floats:
    """(n, c) what is predicted, averaged over each row's predictor."""
    points, total = found.points(), 0.0
    # Many points at a time: of few rows a call costs more than what is worked out.
    size = max(1, AT_ONCE // found.num_rows)
    while some := list(itertools.islice(points, size)):
        each = predicted_at(fit, kind, np.concatenate([eta for eta, _ in some], axis=-1))
        weights = np.array([weight for _, weight in some])
        total = total + np.einsum("mn,mnc->nc", weights, each.reshape(*weights.shape, -1))
    return np.asarray(total, float)


def _draw_hits(chances: Floats, sequences: Iterable[np.random.SeedSequence]) -> Iterator[Mask]:
    """Whether what has these chances (n,) comes true, once for each sequence."""
    rounded = chances.astype(np.float32)
    for one in sequences:
        yield np.random.default_rng(one).random(len(rounded), np.float32) < rounded


def _draw_successes(
    fit: FittedModel, found: LeftOut, response: Arrays, draws: int, seed: int
) -> Iterator[Floats]:
    """Numbers of successes (n,), as often as asked, drawn some at a time."""
    size = int(np.clip(CHUNK // found.num_rows, 1, draws))
    for number, start in enumerate(range(0, draws, size)):
        of_predictor, of_row = np.random.SeedSequence([seed, number]).spawn(2)
        count = min(size, draws - start)
        eta = found.drawn(count, np.random.default_rng(of_predictor))
        yield from draw_rows(fit, eta, response, of_row)


def _reliability(
    name: str,
    predicted: Floats,
    hits: Floats,
    simulated: Iterator[Floats] | Iterator[Mask],
    trials: Floats,
    num_bins: int,
    level: float,
    apart: Floats,
    others: Iterable[tuple[Floats, Floats]],
) -> Reliability:
    """The curve of (n,) predicted chances and numbers of hits, with those (n,) of each simulated response.

    `apart` (n,) is how far a row's own response moves its predictor through the estimates. `others` are
    predicted chances and hits of responses that the model draws, each predicted from the rest of its kind:
    where these vary more about their chances than independent ones do, so may the observed.
    """
    order = np.argsort(predicted, kind="stable")
    ranked = predicted[order]
    edges = np.unique(np.round(np.linspace(0, len(order), num_bins + 1)).astype(int)[:-1])
    # Rows of one chance stay together: a bin begins where the chance changes.
    edges = np.unique(np.searchsorted(ranked, ranked[edges], side="left"))
    near = float(np.median(NEAR * apart * predicted * (1 - predicted)))
    edges = _off_clusters(ranked, edges, near)

    def sums(values: NDArray[Any]) -> Floats:
        return np.add.reduceat(np.asarray(values, float)[order], edges)

    total = sums(trials)
    drawn = np.array([sums(draw) for draw in simulated])
    shares = drawn / total
    tail = 0.5 * (1.0 - level)
    lower, upper = np.quantile(shares, [tail, 1.0 - tail], axis=0)
    chances = sums(predicted * trials) / total
    # How much wider than independent trials, of which there are bounds for the smallest shares, too.
    plain = np.sqrt(sums(predicted * (1 - predicted) * trials))
    widths = np.maximum(drawn.std(axis=0) / np.where(plain > 0, plain, 1.0), 1e-12)
    starts = ranked[edges] - 0.5 * near
    wider = np.maximum(_scatter(others, starts, trials) / widths, 1.0)
    return Reliability(
        name=name,
        rows=np.diff(np.append(edges, len(order))),
        predicted=chances,
        observed=sums(hits) / total,
        lower=np.clip(chances - wider * (chances - lower), 0.0, 1.0),
        upper=np.clip(chances + wider * (upper - chances), 0.0, 1.0),
    )


def _scatter(others: Iterable[tuple[Floats, Floats]], starts: Floats, trials: Floats) -> Floats:
    """(b,) root mean squares of hits less chances, by bins of these starts, in those of independent trials."""
    squares, count = np.zeros(len(starts)), np.zeros(len(starts))
    for predicted, hits in others:
        place = np.maximum(np.searchsorted(starts, predicted, side="right") - 1, 0)
        off = np.bincount(place, hits - trials * predicted, len(starts))
        plain = np.bincount(place, trials * predicted * (1 - predicted), len(starts))
        squares += np.divide(off**2, plain, out=np.zeros(len(starts)), where=plain > 0)
        count += plain > 0
    return np.sqrt(squares / np.maximum(count, 1.0))


def _off_clusters(ranked: Floats, edges: Ints, near: float) -> Ints:
    """Edges of bins (b,) that part no rows whose chances differ by their own responses alone.

    Where a few chances are all there are, such as those of levels without covariates, that of a row with a yes
    is a little below that of the others like it, and that of a row with a no above: a bin that began between
    the two would have all of one kind. They make clusters of less than twice `near`, with gaps around.
    """
    gaps = np.flatnonzero(np.diff(ranked) > near)
    found = []
    for edge in edges:
        place = int(np.searchsorted(gaps, edge))
        first = int(gaps[place - 1]) + 1 if place > 0 else 0
        last = int(gaps[place]) if place < len(gaps) else len(ranked) - 1
        found.append(first if ranked[last] - ranked[first] <= 2.0 * near else int(edge))
    return np.unique(found)


@functools.lru_cache(maxsize=64)
def _band(n: int, bins: int, level: float) -> tuple[float, float]:
    """Between which counts all bins of n uniform numbers lie, with a chance of `level`."""
    counts = np.random.default_rng(0).multinomial(n, np.full(bins, 1.0 / bins), NUM_HISTOGRAMS)
    # How far out the farthest bin of each histogram is, by its chance in one bin.
    at_most = scipy.stats.binom.cdf(counts, n, 1.0 / bins)
    at_least = scipy.stats.binom.sf(counts - 1, n, 1.0 / bins)
    farthest = np.minimum(at_most, at_least).min(axis=1)
    tail = float(np.quantile(farthest, 1.0 - level))
    low = scipy.stats.binom.ppf(tail, n, 1.0 / bins)
    return float(low), float(scipy.stats.binom.isf(tail, n, 1.0 / bins))
