"""How often values occur in the data, and how often in responses that the fitted model draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.fit import FittedModel, of_observations
from lmeformula.prediction.kept_effects import ReForm, kept_terms, some_effects
from lmeformula.prediction.predictor import category_names
from lmeformula.prediction.simulate import responses, sampler_of

# Up to this many whole values are counted one by one.
MOST_VALUES = 30
FEWEST_BINS, MOST_BINS = 10, 60
MOST_DRAWS = 100_000


class Frequencies(NamedTuple):
    """Numbers of rows by value of the response.

    Attributes:
      edges: (k + 1) of the bins; the last bins hold all that lies beyond.
      names: (k) of the values where each bin holds one, else ().
      observed: (k) rows of the data.
      lower: (k) a quantile of the numbers of rows in drawn responses.
      middle: (k) their median.
      mean: (k) their mean.
      upper: (k) the other quantile.
    """

    edges: Floats
    names: tuple[str, ...]
    observed: Floats
    lower: Floats
    middle: Floats
    mean: Floats
    upper: Floats


@kinds.takes(
    num_draws=kinds.whole(1, MOST_DRAWS),
    level=kinds.coverage,
    re_form=some_effects,
    seed=kinds.seed,
)
@of_observations
def frequencies(
    fit: FittedModel,
    *,
    num_draws: int = 200,
    level: float = 0.9,
    re_form: ReForm = "NA",
    seed: int = 0,
) -> Frequencies:
    """Count the values of the response, and of responses that the model draws at its estimates.

    Args:
      fit: a fitted model with its rows.
      num_draws: how many responses are drawn.
      level: of the intervals between quantiles.
      re_form: random effects that are kept at their modes, as in `simulate`.
      seed: of the draws.
    Returns:
      The numbers, by single values where there are few and whole ones, else by bins.
    Raises:
      ModelError: for a level outside 0 and 1, or no draws.
    References:
      Gelman, Meng, Stern (1996), Statistica Sinica 6, 733-807, for predictive checks.
    """
    sampler = sampler_of(fit)._replace(kept=kept_terms(fit, re_form))
    observed = np.asarray(sampler.response[0], float)
    drawn = np.array(list(responses(sampler, num_draws, seed)))
    edges, names = _bins(fit, observed, drawn)
    # What is drawn beyond the bins belongs to the last ones.
    inside = (edges[0], np.nextafter(edges[-1], -np.inf))
    counts = np.array([np.histogram(np.clip(row, *inside), edges)[0] for row in drawn], float)
    tails = [0.5 - level / 2.0, 0.5, 0.5 + level / 2.0]
    lower, middle, upper = np.quantile(counts, tails, axis=0)
    found = np.histogram(np.clip(observed, *inside), edges)[0].astype(float)
    return Frequencies(edges, names, found, lower, middle, counts.mean(axis=0), upper)


def _bins(fit: FittedModel, observed: Floats, drawn: Floats) -> tuple[Floats, tuple[str, ...]]:
    if fit.model.family.categories is not None:
        names = category_names(fit)
        return np.arange(len(names) + 1, dtype=float) - 0.5, names
    # A few large draws do not stretch the axis.
    low = min(observed.min(), float(np.quantile(drawn, 0.01)))
    high = max(observed.max(), float(np.quantile(drawn, 0.99)))
    if (observed == np.round(observed)).all() and (drawn == np.round(drawn)).all():
        # Each bin holds equally many values: other widths would draw a saw.
        low, high = np.floor(low), np.ceil(high)
        width = float(np.ceil((high - low + 1.0) / MOST_VALUES))
        edges = np.arange(low, high + width + 1.0, width) - 0.5
        edges = edges[: int(np.searchsorted(edges, high)) + 1]
        if fit.model.family.measure == "counts" and low == 0.0 and width > 1.0:
            # How many zeros there are is what models of counts differ by.
            edges = np.insert(edges, 1, 0.5)
        return edges, tuple(f"{value:g}" for value in edges[:-1] + 0.5) if width == 1.0 else ()
    # Freedman-Diaconis widths, within limits that keep a bar visible and a shape recognisable.
    size = len(np.histogram_bin_edges(observed, "fd")) - 1
    return np.linspace(low, high, int(np.clip(size, FEWEST_BINS, MOST_BINS)) + 1), ()
