"""What every covariance structure can do, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np

from lmeformula.arrays import Floats, Mask, Tensor
from lmeformula.covariance.chart import Chart

# Of the coefficients of a term: none, one between them all, two parameters for all, one for each number of
# steps, or for each pair; or several blocks of them with correlations of their own; or what is known, and
# loadings on a few factors.
Correlations = Literal["none", "one", "two", "lags", "each", "blocks", "known", "factors"]

# Of an element of a matrix, roundings that its factor's pivots are built of.
ROUNDING = 8.0 * np.finfo(float).eps


class Structure(Protocol):
    """One covariance structure; k is the number of coefficients of the term.

    Its parameters theta are unconstrained: log standard deviations, then what gives the correlations.
    """

    kind: str
    correlations: Correlations

    def least_correlation(self, k: int) -> float:
        """The infimum of its correlations; their supremum is one."""

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        """What gives the correlations in the joint distribution: its start, and its bijector.

        Args:
          start: (k, k) correlation matrix, positive definite.
          dtype: "float64" or "float32".
        """

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        """The Cholesky factor (k, k) of the correlation matrix from that value."""

    def matrix_text(self, part: str, k: int) -> str:
        """Its correlation matrix R in words.

        Args:
          part: what the joint distribution calls the term.
          k: the number of coefficients.
        """

    def matrix_latex(self, label: str, k: int) -> str:
        """The same in LaTeX, for the term's label in LaTeX."""

    def rank(self, k: int) -> int:
        """The rank of its covariances inside their bounds."""

    def num_params(self, k: int) -> int:
        """Length of theta."""

    def num_sds(self, k: int) -> int:
        """How many elements of theta, the first ones, are log standard deviations."""

    def cholesky(self, theta: Floats, k: int) -> Floats:
        """(k, k) lower-triangular L with Sigma = L L'."""

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        """(len(theta), k, k) derivative of L in each element of theta."""

    def to_free(self, covariance: Floats) -> Floats:
        """theta of a covariance matrix of this structure; infinite where a parameter lies on its bound."""

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        """A finite stand-in for theta, standard deviations of zero as `sd`.

        Returns:
          theta: finite.
          inside: which parameters are inside their bounds and make a difference there.
        """

    def to_report(self, theta: Floats, k: int) -> Floats:
        """Standard deviations, then correlations, as many as theta has elements."""

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        """Derivative of `to_report`, square."""

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        """What each element of `to_report` is: "sd", "cor" or "loading", and of which columns; "" of all."""

    def elements(self, k: int) -> Floats | None:
        """(e, k, k) matrices whose combinations its covariances are; None where they are more, or fewer."""

    def chart(self, scale: Floats) -> Chart:
        """The factors as a function of as many free elements as theta has.

        There, unlike in theta, a singular covariance is an ordinary point.

        Args:
          scale: (k,) root mean squares of the columns of the data; elements are relative to them.
        """


def names_of(labels: Sequence[tuple[str, str]], name: str, columns: Sequence[str]) -> list[str]:
    """Names of a term's parameters on the reporting scale, from its structure's labels.

    Example:
      >>> names_of([("sd", "x"), ("cor", "")], "g", ["x", "z"])
      ['sd(g:x)', 'cor(g)']
      >>> names_of([("sd", "Intercept")], "g", ["Intercept"])
      ['sd(g)']
    """
    bare = tuple(columns) == ("Intercept",)
    return [
        f"{kind}({name})" if bare or not label else f"{kind}({name}:{label})"
        for kind, label in labels
    ]


def below_diagonal(k: int) -> list[tuple[int, int]]:
    """Places of the correlations, row by row."""
    return [(i, j) for i in range(k) for j in range(i)]


def log_sds(variances: Floats) -> Floats:
    """Log standard deviations; minus infinity for a variance of zero."""
    with np.errstate(divide="ignore"):
        return np.asarray(0.5 * np.log(variances))


def cholesky_semidefinite(matrix: Floats) -> Floats:
    """Cholesky factor of a positive semidefinite matrix: rows of zero variance stay zero below their pivot.

    Zero is what rounding leaves of a variance: more of it, the less another row has of its own.
    """
    k = len(matrix)
    factor, lost = np.zeros((k, k)), np.zeros(k)
    for j in range(k):
        rest = matrix[j:, j] - factor[j:, :j] @ factor[j, :j]
        rounding = ROUNDING * (matrix[j, j] + factor[j, :j] ** 2 @ lost[:j])
        pivot = np.sqrt(rest[0]) if rest[0] > rounding else 0.0
        lost[j] = matrix[j, j] / rest[0] if pivot > 0 else 0.0
        factor[j, j] = pivot
        if pivot > 0:
            factor[j + 1 :, j] = rest[1:] / pivot
    return factor
