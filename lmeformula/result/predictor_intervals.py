"""Result stage: the errors of the linear predictors of rows, and what intervals are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design, NewRows
from lmeformula.fit import FittedModel
from lmeformula.result.distribution import draw_rows, response_arrays
from lmeformula.result.equations import (
    Equations,
    equations,
    fresh_variances,
    in_parts,
    with_location,
)
from lmeformula.result.heavy_errors import (
    HeavyErrors,
    half_widths,
    normal_covariances,
    with_fresh,
)
from lmeformula.result.intervals import cutoff
from lmeformula.result.loadings import Loadings, loadings, predictors_of
from lmeformula.result.mean_intervals import (
    COLUMNS,
    by_delta,
    leading_predictor,
    mean_slopes,
    mean_variances,
    transformed,
)
from lmeformula.result.parameter_errors import has_location, location_covariance
from lmeformula.result.predictor import family_values
from lmeformula.result.several_predictors import polarised

Floats = NDArray[np.float64]

# Rows whose errors are worked out, and numbers that are simulated, at a time.
ROWS, NUMBERS = 16_384, 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Uncertain:
    """Rows with their linear predictors, and what of these is uncertain.

    Attributes:
      fit: a fitted model.
      rows: fitted or new rows, with those terms that take part.
      eta: (n,) or (K, n) their linear predictors.
      loads: how they follow the parameters; None where these are taken as known.
      solved: the mixed-model equations, where effects are uncertain, given the data; else None.
      new_levels: whether effects of levels that the fit has not seen are drawn from their distribution.
    """

    fit: FittedModel
    rows: Design | NewRows
    eta: Floats
    loads: Loadings | None
    solved: Equations | None
    new_levels: bool

    @property
    def num_predictors(self) -> int:
        """K."""
        return 1 if self.eta.ndim == 1 else len(self.eta)

    def variances(self) -> Floats:
        """(n,) of the errors of the one linear predictor, of ordered categories from the mean of thresholds."""
        if self.loads is None or not has_location(self.fit):
            return self._together(lambda part, rows: self._covariances(rows)[:, 0, 0])
        if self.solved is not None:
            with one_blas_thread():
                known = self.solved.variances(
                    self.rows, parameters=True, effects=True, new_levels=False
                )
            return np.asarray(known + self._fresh(self.rows)[:, 0, 0])
        vcov = location_covariance(self.fit)
        X = with_location(self.rows.X, len(vcov))
        found = np.einsum("ni,ij,nj->n", X, vcov, X) + self._fresh(self.rows)[:, 0, 0]
        return np.asarray(np.maximum(found, 0.0))

    def covariances(self) -> Floats:
        """(n, K, K) of the errors of the linear predictors."""
        return self._together(lambda part, rows: self._covariances(rows))

    def means(self, kind: str, level: float) -> Floats:
        """(n, c, 3) mean responses (c is 1) or chances of categories, with lower and upper ends."""
        return self._together(
            lambda part, rows: self._means(self.eta[..., part], rows, kind, level)
        )

    def _means(self, eta: Floats, rows: Design | NewRows, kind: str, level: float) -> Floats:
        slopes = mean_slopes(self.fit, eta, kind)
        k = leading_predictor(slopes) if kind == "response" else None
        if k is not None:
            widths = half_widths(self._errors(rows, self._covariances(rows)[:, k, k]), level)
            return transformed(self.fit, eta, k, widths)[:, None]
        effects, count = self._effects(rows), self.num_predictors
        if self.loads is None:
            known = slopes._replace(in_own=slopes.in_own[:0])
            nothing = [np.zeros((len(effects), 0))] * count
            variances = mean_variances(known, nothing, np.zeros((0, 0)), effects)
        else:
            each = self._each_load(rows)
            variances = mean_variances(slopes, each, self.loads.vcov, effects)
        errors = self._errors(rows, np.zeros(len(variances)))
        moved = np.einsum("jn,nc->jnc", errors.scales, np.abs(slopes.in_eta[0]))
        widths = half_widths(errors._replace(variances=variances, scales=moved), level)
        return by_delta(self.fit, kind, slopes.values, widths)

    def widths(self, level: float, added: Floats | float = 0.0) -> Floats:
        """(n,) half of intervals of the one linear predictor, with the variances of what is added to it."""
        return half_widths(self._errors(self.rows, self.variances() + added), level)

    def errors(self, variances: Floats) -> HeavyErrors:
        """Those of the one linear predictor, its normal ones having these variances (n,)."""
        return self._errors(self.rows, variances)

    def _errors(self, rows: Design | NewRows, variances: Floats) -> HeavyErrors:
        return with_fresh(self.fit, rows.terms if self.new_levels else (), variances)

    def _together(self, work: Callable[[slice, Design | NewRows], Floats]) -> Floats:
        """What is worked out for some rows at a time, for all."""
        found = [
            work(
                part,
                replace(
                    self.rows,
                    X=self.rows.X[part],
                    terms=terms,
                    offset=self.rows.offset[part],
                    further_offsets=tuple(each[part] for each in self.rows.further_offsets),
                ),
            )
            for part, terms in in_parts(self.rows, ROWS)
        ]
        return np.concatenate(found) if found else work(slice(0), self.rows)

    def _each_load(self, rows: Design | NewRows) -> list[Floats]:
        assert self.loads is not None
        columns = predictors_of(rows)
        return [self.loads.of(rows.X, rows.terms, columns, k) for k in range(self.num_predictors)]

    def _covariances(self, rows: Design | NewRows) -> Floats:
        found = self._effects(rows)
        if self.loads is not None:
            loads = np.array(self._each_load(rows))
            found = found + np.einsum(
                "knd,de,lne->nkl", loads, self.loads.vcov, loads, optimize=True
            )
            diagonal = np.arange(self.num_predictors)
            found[:, diagonal, diagonal] = np.maximum(found[:, diagonal, diagonal], 0.0)
        return found

    def _effects(self, rows: Design | NewRows) -> Floats:
        """(n, K, K) what the effects add, the parameters known."""
        found = self._fresh(rows)
        solved = self.solved
        if solved is None:
            return found

        def variances(read: Design | NewRows) -> Floats:
            with one_blas_thread():
                return solved.variances(read, parameters=False, effects=True, new_levels=False)

        return found + polarised(rows, variances, self.num_predictors)

    def _fresh(self, rows: Design | NewRows) -> Floats:
        count = self.num_predictors
        if not self.new_levels:
            return np.zeros((len(rows.offset), count, count))
        covariances = normal_covariances(self.fit)
        return polarised(
            rows,
            lambda read: fresh_variances(read.terms, covariances) + np.zeros(len(read.offset)),
            count,
        )


def uncertain(
    fit: FittedModel,
    rows: Design | NewRows,
    eta: Floats,
    *,
    parameters: bool,
    effects: bool,
    new_levels: bool,
) -> Uncertain:
    """Work out what the errors of rows' linear predictors are made of.

    Args:
      fit: a fitted model.
      rows: fitted or new rows, with those terms that take part.
      eta: (n,) or (K, n) their linear predictors.
      parameters: whether fixed effects and own parameters are uncertain.
      effects: whether random effects are, given the data.
      new_levels: whether effects of unseen levels are drawn from their distribution.
    Raises:
      ModelError: if effects are, and the equations are too large to be factored, or effects are by Student's t.
    """
    is_known = any((block.index >= 0).any() and block.values.any() for block in rows.terms)
    solved = equations(fit) if effects and (is_known or not fit.params.freedom) else None
    loads = loadings(fit, solved) if parameters else None
    return Uncertain(fit, rows, eta, loads, solved, new_levels)


def link_intervals(
    fit: FittedModel, eta: Floats, covariances: Floats, level: float
) -> pd.DataFrame:
    """Intervals of each predictor.

    Args:
      fit: a fitted model.
      eta: (K, n) its predictors.
      covariances: (n, K, K) of their errors.
      level: coverage.
    Returns:
      frame: n rows, and for each predictor the columns estimate, lower, upper, below its name.
    """
    half = cutoff(level) * np.sqrt(np.maximum(np.einsum("nkk->kn", covariances), 0.0))
    names = [part.name for part in fit.model.design.parts]
    return pd.DataFrame(
        np.stack([eta, eta - half, eta + half]).transpose(2, 1, 0).reshape(eta.shape[1], -1),
        columns=pd.MultiIndex.from_product([names, COLUMNS]),
    )


def simulated_quantiles(
    what: Uncertain, level: float, seed: int, num_draws: int
) -> tuple[Floats, Floats]:
    """(n,) quantiles of responses that are drawn given uncertain predictors and own parameters.

    Own parameters are drawn once for all rows, and the predictors of each row given them: so thresholds and
    predictors move together.

    Args:
      what: the rows.
      level: the chance of what lies between the quantiles.
      seed: of the draws.
      num_draws: how many for each row.
    """
    fit, family = what.fit, what.fit.model.family
    response = response_arrays(fit, what.rows)
    trials = response[1] if family.has_trials else np.ones(what.eta.shape[-1])
    first = 1.0 if family.categories is not None else 0.0
    tails = [0.5 - level / 2, 0.5 + level / 2]
    found = np.empty((2, what.eta.shape[-1]))
    for part, drawn, own, of_rows in _draws(what, num_draws, seed):
        arrays = tuple(array[part] for array in response)
        draws = draw_rows(fit, drawn, arrays, of_rows, own)
        # Quantiles that are values of the response, which may be whole numbers.
        shares = draws / trials[part] + first
        found[:, part] = np.quantile(shares, tails, axis=0, method="inverted_cdf")
    return found[0], found[1]


def _draws(
    what: Uncertain, num_draws: int, seed: int
) -> Iterator[tuple[slice, Floats, Floats | None, np.random.SeedSequence]]:
    """Some rows at a time: their place, predictors (m, n) or (m, K, n), own parameters (m, v), and a seed."""
    count, n = what.num_predictors, what.eta.shape[-1]
    of_own, *_ = np.random.SeedSequence([seed, n]).spawn(1)
    covariances, pulls, own = what.covariances(), None, None
    if what.loads is not None and len(what.loads.vcov) > what.loads.num_fixed:
        own, moved, pulls, taken_up = _own_draws(what, num_draws, of_own)
        covariances = covariances - taken_up
    heavy = what.errors(np.zeros(n))
    size = max(NUMBERS // (num_draws * count), 1)
    for number, start in enumerate(range(0, n, size)):
        part = slice(start, start + size)
        of_noise, of_rows = np.random.SeedSequence([seed, number]).spawn(2)
        noise = np.random.default_rng(of_noise)
        if count == 1:
            sds = np.sqrt(np.maximum(covariances[part, 0, 0], 0.0))
            drawn = what.eta[part] + sds * noise.standard_normal((num_draws, len(sds)))
            for scales, df in zip(heavy.scales[:, part], heavy.freedom, strict=True):
                drawn += scales * noise.standard_t(df, size=drawn.shape)
        else:
            roots = np.array([cholesky_semidefinite(each) for each in covariances[part]])
            z = noise.standard_normal((num_draws, len(roots), count))
            drawn = what.eta[:, part] + np.einsum("nab,mnb->man", roots, z)
        if pulls is not None:
            shift = np.einsum("mf,knf->mkn", moved, pulls[:, part])
            drawn = drawn + (shift[:, 0] if count == 1 else shift)
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
    free = scale.to_free(family_values(what.fit))
    natural = np.array([scale.to_natural(free + move) for move in moved])
    # The predictors' regression on the own parameters.
    back = vcov[:, p:] @ np.linalg.pinv(of_own, hermitian=True)
    pulls = what._together(
        lambda part, rows: np.stack([load @ back for load in what._each_load(rows)], axis=1)
    )
    pulls = np.moveaxis(pulls, 1, 0)
    taken_up = np.einsum("knf,fg,lng->nkl", pulls, of_own, pulls, optimize=True)
    return natural, moved, pulls, taken_up
