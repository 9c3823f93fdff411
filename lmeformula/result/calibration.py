"""Result stage: whether predicted chances come true, and predicted distributions are as wide as the data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from lmeformula.errors import ModelError
from lmeformula.result.distribution import Arrays, chances, draw_rows, is_normal
from lmeformula.result.held_out import mean_over
from lmeformula.result.intervals import check_level
from lmeformula.result.leave_one_out import LeftOut, leave_one_out
from lmeformula.result.predict import category_names
from lmeformula.result.scores import averaged_chances

if TYPE_CHECKING:
    from lmeformula.fit import Fit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Families of yes and no, and of successes out of trials.
SHARES = ("bernoulli", "binomial", "beta_binomial")
# Predictors drawn for each row to average its distribution function over, and simulated numbers in all.
NUM_PREDICTORS, MOST_NUMBERS, MOST_SIMULATED, FEWEST_SIMULATED = 64, 40_000_000, 2000, 200
CHUNK = 2_000_000
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


def calibration(
    fit: Fit, *, num_bins: int | None = None, level: float = 0.95, seed: int = 0
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
    check_level(level)
    if num_bins is not None and (not isinstance(num_bins, int) or num_bins < 2):
        raise ModelError(f"num_bins is {num_bins!r}", hint="Give a whole number of at least 2.")
    family = fit.model.family
    found = leave_one_out(fit)
    if family.categories is not None or family.name in SHARES:
        curves = _curves(fit, found, num_bins, level, seed)
        return Calibration(curves, np.zeros(0), 0.0, 0.0, np.zeros(0), level)
    pit = transforms(fit, found, seed)
    n = len(pit)
    bins = num_bins or int(np.clip(n // 25, 4, 20))
    counts = np.histogram(pit, bins, (0.0, 1.0))[0]
    low, high = _band(n, bins, level)
    scale = bins / n
    return Calibration((), counts * scale, low * scale, high * scale, pit, level)


def transforms(fit: Fit, found: LeftOut, seed: int) -> Floats:
    """(n,) chances of a response up to the one observed, given the other rows; of counts a place drawn between.

    Args:
      fit: a fitted model with its rows.
      found: its leave-one-out predictors.
      seed: of the places.
    """
    response = fit.model.family.response(fit.model.design)
    if is_normal(fit.model.family):
        assert fit.params.sigma is not None
        total = np.sqrt(found.variances + fit.params.sigma**2 / response[1])
        return np.asarray(scipy.stats.norm.cdf((response[0] - found.eta) / total))
    probe, places = np.random.SeedSequence(seed).spawn(2)
    # Equally likely predictors: the middles of as many equal parts of their distribution.
    normal = scipy.stats.norm.ppf((np.arange(NUM_PREDICTORS) + 0.5) / NUM_PREDICTORS)
    sds = np.sqrt(found.variances)
    below, upto = np.zeros(len(sds)), np.zeros(len(sds))
    for value in normal:
        parts = chances(fit, found.eta + sds * value, response, probe)
        below += parts[0] / NUM_PREDICTORS
        upto += parts[1] / NUM_PREDICTORS
    uniform = np.random.default_rng(places).uniform(size=len(sds))
    return np.asarray(np.clip(below + uniform * (upto - below), 0.0, 1.0))


def _curves(
    fit: Fit, found: LeftOut, num_bins: int | None, level: float, seed: int
) -> tuple[Reliability, ...]:
    family, n = fit.model.family, fit.nobs
    response = family.response(fit.model.design)
    bins = num_bins or int(np.clip(n // 20, 3, 10))
    draws = int(np.clip(MOST_NUMBERS // n, FEWEST_SIMULATED, MOST_SIMULATED))
    sequences = np.random.SeedSequence(seed).spawn(draws)
    ones = np.ones(n)
    if family.has_trials:
        # Rows of many trials vary more than independent ones do: their predictor is uncertain for all at once.
        predicted = mean_over(fit, found.eta, found.variances)
        simulated = _draw_successes(fit, found, response, draws, seed)
        return (_reliability("", predicted, response[0], simulated, response[1], bins, level),)
    names: tuple[str, ...]
    if family.categories is None:
        each, names = mean_over(fit, found.eta, found.variances)[:, None], ("",)
        codes = 1 - response[0].astype(np.int64)
    else:
        each, names = averaged_chances(fit, found.eta, found.variances), category_names(fit)
        codes = response[0].astype(np.int64)
    curves = []
    for number, name in enumerate(names):
        chance = each[:, number].astype(np.float32)
        hits = (np.random.default_rng(one).random(n, np.float32) < chance for one in sequences)
        was = (codes == number).astype(float)
        curves.append(_reliability(name, each[:, number], was, hits, ones, bins, level))
    return tuple(curves)


def _draw_successes(
    fit: Fit, found: LeftOut, response: Arrays, draws: int, seed: int
) -> Iterator[Floats]:
    """Numbers of successes (n,), as often as asked, drawn some at a time."""
    n, sds = len(found.eta), np.sqrt(found.variances)
    size = int(np.clip(CHUNK // n, 1, draws))
    for number, start in enumerate(range(0, draws, size)):
        of_predictor, of_row = np.random.SeedSequence([seed, number]).spawn(2)
        noise = np.random.default_rng(of_predictor).standard_normal((min(size, draws - start), n))
        yield from draw_rows(fit, found.eta + sds * noise, response, of_row)


def _reliability(
    name: str,
    predicted: Floats,
    hits: Floats,
    simulated: Iterator[NDArray[Any]],
    trials: Floats,
    num_bins: int,
    level: float,
) -> Reliability:
    """The curve of (n,) predicted chances and numbers of hits, with those (n,) of each simulated response."""
    order = np.argsort(predicted, kind="stable")
    ranked = predicted[order]
    edges = np.unique(np.round(np.linspace(0, len(order), num_bins + 1)).astype(int)[:-1])
    # Rows of one chance stay together: a bin begins where the chance changes.
    edges = np.unique(np.searchsorted(ranked, ranked[edges], side="left"))

    def sums(values: NDArray[Any]) -> Floats:
        return np.add.reduceat(np.asarray(values, float)[order], edges)

    total = sums(trials)
    shares = np.array([sums(draw) for draw in simulated]) / total
    tail = 0.5 * (1.0 - level)
    lower, upper = np.quantile(shares, [tail, 1.0 - tail], axis=0)
    return Reliability(
        name=name,
        rows=np.diff(np.append(edges, len(order))),
        predicted=sums(predicted * trials) / total,
        observed=sums(hits) / total,
        lower=lower,
        upper=upper,
    )


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
