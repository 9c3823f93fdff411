"""The errors of the linear predictors of rows, and what intervals are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design, NewRows
from lmeformula.design.select import select_rows
from lmeformula.fit import FittedModel
from lmeformula.prediction.distribution import draw_rows, response_arrays
from lmeformula.prediction.freedom import with_errors
from lmeformula.prediction.loadings import Loadings, loadings
from lmeformula.prediction.mean_intervals import (
    by_delta,
    leading_predictor,
    mean_slopes,
    mean_variances,
    transformed,
)
from lmeformula.prediction.normal_points import row_roots
from lmeformula.prediction.normal_posterior import NormalPosterior, in_parts, unseen_covariances
from lmeformula.prediction.parameter_errors import has_location, location_slopes
from lmeformula.prediction.posterior import Posterior
from lmeformula.prediction.predictor_errors import (
    PredictorErrors,
    half_widths,
    with_unseen,
)
from lmeformula.prediction.sampled_posterior import kernel_quantiles

# Rows whose errors are worked out, and numbers that are simulated, at a time.
ROWS, NUMBERS = 16_384, 1_000_000
# Draws of own parameters are others than those of the first rows, which are numbered from 0.
OF_OWN = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Uncertain:
    """Rows with their linear predictors, and what of these is uncertain.

    Attributes:
      fit: a fitted model.
      rows: fitted or new rows, with those terms that take part.
      eta: (K, n) their linear predictors.
      loads: how they follow the parameters; None where these are taken as known.
      posterior: of the effects, where these are uncertain, given the data; else None.
      new_levels: whether effects of levels that the fit has not seen are drawn from their distribution.
    """

    fit: FittedModel
    rows: Design | NewRows
    eta: Floats
    loads: Loadings | None
    posterior: Posterior | None
    new_levels: bool

    @property
    def num_draws(self) -> int:
        """How many draws stand for the effects of known levels; 0 where they are normal, or known."""
        return 0 if self.posterior is None else self.posterior.num_draws

    def variances(self) -> Floats:
        """(n,) of the normal errors of the one linear predictor; thresholds are measured from their mean."""
        return self.together(lambda part, rows: self._variances(rows))

    def _variances(self, rows: Design | NewRows) -> Floats:
        if self.loads is None or not has_location(self.fit):
            return self._covariances(rows)[:, 0, 0]
        unseen = self._unseen(rows)[:, 0, 0]
        if isinstance(self.posterior, NormalPosterior):
            return np.asarray(self.posterior.covariances(rows)[:, 0, 0] + unseen)
        (loads,) = self.loads.of(rows)
        loads[:, self.loads.num_fixed :] -= location_slopes(self.fit)
        found = np.einsum("nd,de,ne->n", loads, self.loads.vcov, loads, optimize=True)
        return np.asarray(np.maximum(found + unseen, 0.0))

    def covariances(self) -> Floats:
        """(n, K, K) of the errors of the linear predictors."""
        return self.together(lambda part, rows: self._covariances(rows))

    def means(self, kind: str, level: float) -> Floats:
        """(n, c, 3) mean responses (c is 1) or chances of categories, with lower and upper ends."""
        return self.together(lambda part, rows: self._means(self.eta[..., part], rows, kind, level))

    def _means(self, eta: Floats, rows: Design | NewRows, kind: str, level: float) -> Floats:
        slopes = mean_slopes(self.fit, eta, kind)
        k = leading_predictor(slopes) if kind == "response" else None
        if k is not None:
            away = self._ends(rows, self._covariances(rows)[:, k, k, None], level)[..., 0]
            return transformed(self.fit, eta, k, away)[:, None]
        effects = self._effects(rows)
        if self.loads is None:
            known = slopes._replace(in_own=slopes.in_own[:0])
            nothing = np.zeros((*eta.shape, 0))
            variances = mean_variances(known, nothing, np.zeros((0, 0)), effects)
        else:
            variances = mean_variances(slopes, self.loads.of(rows), self.loads.vcov, effects)
        away = self._ends(rows, variances, level, slopes.in_eta[0])
        return by_delta(self.fit, kind, slopes.values, away)

    def ends(self, level: float, added: Floats | float = 0.0) -> Floats:
        """(2, n) how far the ends of intervals are from the one linear predictor.

        Args:
          level: coverage.
          added: (n,) variances of a normal error that is added to it.
        """
        more = np.broadcast_to(added, self.eta.shape[1:])

        def work(part: slice, rows: Design | NewRows) -> Floats:
            variances = self._variances(rows) + more[part]
            return self._ends(rows, variances[:, None], level)[..., 0].T

        return self.together(work).T

    def _ends(
        self, rows: Design | NewRows, variances: Floats, level: float, slopes: Floats | float = 1.0
    ) -> Floats:
        """(2, n, c) ends of what has normal errors (n, c), and follows other errors of the predictor."""
        slope = np.broadcast_to(slopes, variances.shape)
        by_t = self.t_errors(rows)
        if not self.num_draws:
            scales = by_t.scales[..., None] * np.abs(slope)
            half = half_widths(PredictorErrors(variances, scales, by_t.freedom), level)
            return np.array([-half, half])
        shifts, sds = self.shifts(rows, by_t), np.sqrt(variances)
        each = [
            kernel_quantiles(shifts * slope[:, c], sds[:, c], level) for c in range(sds.shape[1])
        ]
        return np.stack(each, axis=-1)

    def t_errors(self, rows: Design | NewRows) -> PredictorErrors:
        """The errors by Student's t of rows of unseen levels, without normal ones."""
        none = np.zeros(len(rows.offset))
        if not self.new_levels:
            return PredictorErrors(none, np.zeros((0, len(none))), ())
        return with_unseen(self.fit, rows, none)

    def errors(self) -> PredictorErrors:
        """Those of the one predictor, of effects of known levels the normal ones."""
        return self.t_errors(self.rows)._replace(variances=self.variances())

    def shifts(self, rows: Design | NewRows, by_t: PredictorErrors) -> Floats:
        """(m, n) draws of what sampled effects and t errors add to the one predictor."""
        assert self.posterior is not None
        found = self.posterior.shifts(rows)
        random = np.random.default_rng(len(found))
        for scales, df in zip(by_t.scales, by_t.freedom, strict=True):
            found += scales * random.standard_t(df, size=found.shape)
        return found

    def draws(self, random: np.random.Generator) -> Iterator[tuple[slice, Floats, Floats]]:
        """Some rows at a time: where, and (m, n) draws of the one predictor without and with normal errors."""
        variances = self.variances()
        for part, rows in self.parts():
            about = self.eta[0, part] + self.shifts(rows, self.t_errors(rows))
            noise = random.standard_normal(about.shape)
            yield part, about, about + np.sqrt(variances[part]) * noise

    def parts(self) -> Iterator[tuple[slice, Design | NewRows]]:
        """The rows, some at a time."""
        return in_parts(self.rows, max(1, NUMBERS // self.num_draws) if self.num_draws else ROWS)

    def together(self, work: Callable[[slice, Design | NewRows], Floats]) -> Floats:
        """What is worked out for some rows at a time, for all."""
        found = [work(part, rows) for part, rows in self.parts()]
        return np.concatenate(found) if found else work(slice(0), self.rows)

    def _covariances(self, rows: Design | NewRows) -> Floats:
        found = self._effects(rows)
        if self.loads is not None:
            each = self.loads.of(rows)
            k, n, d = each.shape
            known, inner, lost = with_errors(each.reshape(k * n, d), self.loads.vcov)
            loads = known.reshape(k, n, known.shape[-1])
            found = found + np.einsum("knd,de,lne->nkl", loads, inner, loads, optimize=True)
            without = lost.reshape(k, n).T
            found[without[:, :, None] | without[:, None, :]] = np.nan
            diagonal = np.arange(len(self.eta))
            found[:, diagonal, diagonal] = np.maximum(found[:, diagonal, diagonal], 0.0)
        return found

    def _effects(self, rows: Design | NewRows) -> Floats:
        """(n, K, K) what the effects add, the parameters known."""
        found = self._unseen(rows)
        if self.posterior is not None:
            found = found + self.posterior.spread(rows)
        return found

    def _unseen(self, rows: Design | NewRows) -> Floats:
        if self.new_levels:
            return unseen_covariances(self.fit, rows)
        return np.zeros((len(rows.offset), *[len(self.eta)] * 2))


def uncertain(
    fit: FittedModel,
    rows: Design | NewRows,
    eta: Floats,
    *,
    parameters: bool,
    posterior: Posterior | None,
    new_levels: bool,
) -> Uncertain:
    """Work out what the errors of rows' linear predictors are made of.

    Args:
      fit: a fitted model.
      rows: fitted or new rows, with those terms that take part.
      eta: (K, n) their linear predictors.
      parameters: whether fixed effects and own parameters are uncertain.
      posterior: of the random effects, given the data, where these are; see `posterior_of`.
      new_levels: whether effects of unseen levels are drawn from their distribution.
    """
    if posterior is not None and not posterior.tells_of(rows):
        posterior = None
    loads = loadings(fit, posterior) if parameters else None
    return Uncertain(fit, rows, eta, loads, posterior, new_levels)


def simulated_quantiles(
    what: Uncertain, level: float, seed: int, num_draws: int, block: int = 0
) -> tuple[Floats, Floats]:
    """(n,) quantiles of responses that are drawn given uncertain predictors and own parameters.

    Own parameters are drawn once for all rows, and the predictors of each row given them: so thresholds and
    predictors move together.

    Args:
      what: the rows.
      level: the chance of what lies between the quantiles.
      seed: of the draws.
      num_draws: how many for each row.
      block: the number of these rows' block, each of which has draws of its own; but own parameters are drawn
        once for all of them.
    """
    fit, family = what.fit, what.fit.model.family
    response = response_arrays(fit, what.rows)
    trials = response[1] if family.has_trials else np.ones(what.eta.shape[-1])
    first = 1.0 if family.categories is not None else 0.0
    tails = [0.5 - level / 2, 0.5 + level / 2]
    found = np.empty((2, what.eta.shape[-1]))
    for part, drawn, own, of_rows in _draws(what, num_draws, seed, block):
        arrays = tuple(array[part] for array in response)
        draws = draw_rows(fit, drawn, arrays, of_rows, own)
        # Quantiles that are values of the response, which may be whole numbers.
        shares = draws / trials[part] + first
        found[:, part] = np.quantile(shares, tails, axis=0, method="inverted_cdf")
    return found[0], found[1]


def _draws(
    what: Uncertain, num_draws: int, seed: int, block: int
) -> Iterator[tuple[slice, Floats, Floats | None, np.random.SeedSequence]]:
    """Some rows at a time: their place, predictors (m, K, n), own parameters (m, v), and a seed."""
    count, n = what.eta.shape
    of_own, *_ = np.random.SeedSequence([seed, OF_OWN]).spawn(1)
    covariances, pulls, own = what.covariances(), None, None
    if what.loads is not None and len(what.loads.vcov) > what.loads.num_fixed:
        own, moved, pulls, taken_up = _own_draws(what, num_draws, of_own)
        covariances = covariances - taken_up
    by_t = what.t_errors(what.rows)
    size = max(NUMBERS // (num_draws * count), 1)
    for number, start in enumerate(range(0, n, size)):
        part = slice(start, start + size)
        of_noise, of_rows = np.random.SeedSequence([seed, number, *[block] * (block > 0)]).spawn(2)
        noise = np.random.default_rng(of_noise)
        roots = row_roots(covariances[part])
        z = noise.standard_normal((num_draws, len(roots), count))
        drawn = what.eta[:, part] + np.einsum("nab,mnb->man", roots, z)
        # Effects by Student's t are those of the one predictor.
        if what.posterior is not None and what.num_draws:
            drawn += what.posterior.shifts(select_rows(what.rows, part))[:, None]
        for scales, df in zip(by_t.scales[:, part], by_t.freedom, strict=True):
            drawn += scales * noise.standard_t(df, size=drawn.shape)
        if pulls is not None:
            drawn = drawn + np.einsum("mf,knf->mkn", moved, pulls[:, part])
        yield part, drawn, own, of_rows


def _own_draws(
    what: Uncertain, num_draws: int, seed: np.random.SeedSequence
) -> tuple[Floats, Floats, Floats, Floats]:
    """Own parameters (m, v), their moves (m, f), what these do to predictors (K, n, f), (n, K, K) of that."""
    assert what.loads is not None
    scale, vcov, p = what.fit.model.space.own.scale, what.loads.vcov, what.loads.num_fixed
    of_own = vcov[p:, p:]
    root = cholesky_semidefinite(of_own)
    moved = np.random.default_rng(seed).standard_normal((num_draws, len(root))) @ root.T
    free = scale.to_free(what.fit.params.own)
    natural = np.array([scale.to_natural(free + move) for move in moved])
    # The predictors' regression on the own parameters.
    back = vcov[:, p:] @ np.linalg.pinv(of_own, hermitian=True)
    loads = what.loads
    pulls = what.together(lambda part, rows: np.moveaxis(loads.of(rows) @ back, 1, 0))
    pulls = np.moveaxis(pulls, 1, 0)
    taken_up = np.einsum("knf,fg,lng->nkl", pulls, of_own, pulls, optimize=True)
    return natural, moved, pulls, taken_up
