"""The joint uncertainty of fixed and random effects, from Henderson's mixed-model equations.

With H = Z'WZ + Psi^-1, whose inverse is Lambda M^-1 Lambda', the errors of x'beta + z'b have variance

    z'H^-1 z + t'C t,   t = x - X'WZ H^-1 z,

where C is the covariance of the fixed effects. (All of it times sigma^2 for Gaussian models.) With thresholds
the predictor is measured from their mean, which is one more coefficient, of a column of -1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lmeformula.algebra.crossproducts import Layout, cross_products, layout, model_matrix
from lmeformula.algebra.factor import Factor, factorize
from lmeformula.algebra.inverse import leverages
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design, NewRows, TermBlock
from lmeformula.errors import ModelError
from lmeformula.estimation.solver import can_be_factored
from lmeformula.fit import FittedModel
from lmeformula.prediction.freedom import combined_variances
from lmeformula.prediction.parameter_errors import has_thresholds, location_covariance
from lmeformula.prediction.polarised import polarised
from lmeformula.prediction.predictor import linear_predictor, stacked_predictor
from lmeformula.prediction.refuse_student import has_tails, refuse_heavy

# Rows whose variances are worked out at a time: memory does not grow with their number.
CHUNK = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Equations:
    """The mixed-model equations, factored.

    Attributes:
      factor: of M, with relative covariance factors for Gaussian models.
      crossed: (q, p) H^-1 Z'WX; p counts the location of thresholds, where there are some.
      fixed_vcov: (p, p) C.
      covariances: (k, k) Psi of each term.
      scale: sigma^2 for Gaussian models, else 1.
    """

    factor: Factor
    crossed: Floats
    fixed_vcov: Floats
    covariances: tuple[Floats, ...]
    scale: float

    def variances(
        self, rows: Design | NewRows, *, parameters: bool, effects: bool, new_levels: bool
    ) -> Floats:
        """(n,) variances of the errors of linear predictors.

        Args:
          rows: fitted or new rows, with their terms; an unseen level adds nothing but by `new_levels`.
          parameters: whether fixed effects are uncertain.
          effects: whether random effects are, given the data. Only both together take account of how the
            errors of the two are related.
          new_levels: whether effects of unseen levels are drawn from their distribution.
        """
        parts = [
            self._variances(rows.X[part], terms, parameters, effects)
            for part, terms in in_parts(rows, CHUNK)
        ]
        found = np.concatenate(parts) if parts else np.zeros(0)
        if new_levels:
            found += fresh_variances(rows.terms, self.covariances)
        # Rounding may leave a variance of zero below it.
        return np.asarray(np.maximum(found, 0.0))

    def spread(
        self, rows: Design | NewRows, *, parameters: bool, effects: bool, new_levels: bool
    ) -> Floats:
        """(n, K, K) covariances of the errors of linear predictors.

        Args:
          rows: fitted or new rows.
          parameters, effects, new_levels: as of `variances`.
        """

        def variances(read: Design | NewRows) -> Floats:
            return self.variances(
                read, parameters=parameters, effects=effects, new_levels=new_levels
            )

        if parameters and rows.X.shape[1] < len(self.fixed_vcov):
            rows = replace(
                rows.as_rows() if isinstance(rows, Design) else rows,
                X=with_location(rows.X, len(self.fixed_vcov)),
                column_predictors=(*rows.column_predictors, 0),
            )
        return polarised(rows, variances)

    def _variances(
        self, X: Floats, terms: tuple[TermBlock, ...], parameters: bool, effects: bool
    ) -> Floats:
        found = np.zeros(len(X))
        plan = self._plan(terms) if terms else None
        if parameters:
            seen = with_location(X, len(self.fixed_vcov))
            if effects and plan is not None:
                seen = seen - sum(
                    plan.matrices[j] @ self.crossed[plan.place(j)] for j in range(len(plan.sizes))
                )
            found += combined_variances(seen, self.fixed_vcov)
        if effects and plan is not None:
            inverse = self.factor.inverse()
            found += self.scale * leverages(plan, self.factor.lambdas, inverse.met(plan))
        return found

    def collected(self, rows: Floats) -> Floats:
        """(q, c) H^-1 Z' rows, for columns (v n, c) of stacked rows."""
        plan = self.factor.plan
        right = np.concatenate([plan.transposed[j] @ rows for j in (plan.lead, *plan.rest)])
        half = self.factor.solve(apply_lambda(plan, self.factor.lambdas, right, transpose=True))
        return np.asarray(self.scale * apply_lambda(plan, self.factor.lambdas, half))

    def _plan(self, terms: tuple[TermBlock, ...]) -> Layout:
        matrices = []
        for block in terms:
            known = (block.index >= 0)[:, None]
            values = np.where(known, block.values, 0.0)
            index = np.where(known[:, 0], block.index, 0).astype(np.int32)
            matrices.append(model_matrix(replace(block, values=values, index=index)))
        return self.factor.plan.with_matrices(tuple(matrices))


def fresh_variances(terms: tuple[TermBlock, ...], covariances: tuple[Floats, ...]) -> Floats:
    """(n,) variances of the effects that rows of unseen levels have, by their terms' covariances (k, k)."""
    found = np.zeros(len(terms[0].index)) if terms else np.zeros(1)
    for block, covariance in zip(terms, covariances, strict=True):
        fresh = np.einsum("na,ab,nb->n", block.values, covariance, block.values)
        found += np.where(block.index < 0, fresh, 0.0)
    return found


def fresh_spread(rows: Design | NewRows, covariances: tuple[Floats, ...]) -> Floats:
    """(n, K, K) the same of each of the predictors, and their covariances.

    Args:
      rows: fitted or new rows.
      covariances: (k, k) of each term's effects.
    """

    def variances(read: Design | NewRows) -> Floats:
        return fresh_variances(read.terms, covariances) + np.zeros(len(read.offset))

    return polarised(rows, variances)


def in_parts(rows: Design | NewRows, size: int) -> Iterator[tuple[slice, tuple[TermBlock, ...]]]:
    """Some rows at a time, `size` of them: where they are, and their terms."""
    for start in range(0, len(rows.offset), size):
        part = slice(start, start + size)
        yield part, terms_of(rows.terms, part)


def terms_of(terms: tuple[TermBlock, ...], part: slice) -> tuple[TermBlock, ...]:
    """The terms of some rows."""
    return tuple(
        replace(block, values=block.values[part], index=block.index[part]) for block in terms
    )


def equations(fit: FittedModel) -> Equations:
    """Set up and factor the mixed-model equations at the estimates.

    For responses that are not Gaussian W holds the negative second derivatives of the rows' log density at the
    estimates and conditional modes: the errors' distribution is taken for normal there.

    Args:
      fit: a fitted model.
    Returns:
      The equations.
    Raises:
      ModelError: if they are too large to be factored here, or have no minimum.
    References:
      Henderson (1975), Biometrics 31, 423-447; Bates et al. (2015), J. Stat. Softw. 67(1), section 5.
    """
    check_direct(fit, "intervals of predictions")
    refuse_heavy(fit, "mixed-model equations, as for errors of rows left out,")
    design, stack = fit.model.design, fit.model.stack
    plan = layout(stack.terms)
    if fit.model.family.is_normal:
        scale, weights = fit.params.residual_sd**2, design.weights
    else:
        scale, weights = 1.0, _curvature(fit)
    lambdas = tuple(cholesky_semidefinite(cov / scale) for cov in fit.params.covariances)
    vcov = location_covariance(fit) if has_thresholds(fit) else fit.fixed_vcov
    X = stacked_columns(fit, len(vcov))
    weighted = X if weights is None else X * weights[:, None]
    try:
        factor = factorize(plan, cross_products(plan, weights), lambdas)
    except np.linalg.LinAlgError:
        raise ModelError(
            "the log density is not concave at the estimates, so that predictions have no intervals",
            hint="Predict without `interval`, or simulate from the model.",
        ) from None
    solved = Equations(factor, np.zeros((0, 0)), vcov, fit.params.covariances, scale)
    # The weights of normal rows lack 1 / sigma^2, which `collected` has.
    return replace(solved, crossed=solved.collected(weighted) / scale)


def with_location(X: Floats, num_columns: int, reads: Floats | float = 1.0) -> Floats:
    """X with a column of -1 for the mean of the thresholds, if there are that many columns.

    Args:
      X: (n, p).
      num_columns: p, or one more.
      reads: (n,) what of the first predictor the rows read.
    """
    if X.shape[1] == num_columns:
        return X
    return np.column_stack([X, np.full(len(X), -1.0) * reads])


def stacked_columns(fit: FittedModel, num_columns: int) -> Floats:
    """(v n, p) fixed columns of the stacked rows, with one for the location of thresholds if that many."""
    return with_location(fit.model.stack.X, num_columns, _reads_first(fit))


def _reads_first(fit: FittedModel) -> Floats | float:
    mixture = fit.model.stack.mixture
    return np.repeat(mixture.readers[:, 0], mixture.num_rows)


def is_direct(fit: FittedModel) -> bool:
    """Whether the equations of a model are small enough to be factored."""
    return can_be_factored(fit.model)


def has_equations(fit: FittedModel) -> bool:
    """Whether `equations` has an answer for this model: small enough, and its effects Gaussian."""
    return is_direct(fit) and not has_tails(fit)


def check_direct(fit: FittedModel, what: str) -> None:
    """Refuse models whose equations are too large to be factored.

    Raises:
      ModelError: that says so.
    """
    if not is_direct(fit):
        raise ModelError(
            f"{what} need a factorization that is too large for this model",
            hint='Use what does without: ddf="none", predictions without intervals.',
        )


def _curvature(fit: FittedModel) -> Floats:
    from lmeformula.likelihood.laplace.rows import row_derivatives

    model = fit.model
    eta = stacked_predictor(fit, linear_predictor(fit, model.design))
    own = model.space.own.scale.to_free(fit.params.own)
    return np.asarray(-row_derivatives(model).slopes(eta, own).second)
