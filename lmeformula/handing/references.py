"""The papers behind the methods that a fit used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lmeformula.fit import FittedModel


@dataclass(frozen=True, slots=True)
class Reference:
    """A paper or a book.

    Attributes:
      authors: surnames with initials.
      year: of publication.
      title: of the paper or the book.
      where: journal, volume and pages, or the publisher.
      of: what the fit used it for.
    """

    authors: str
    year: int
    title: str
    where: str
    of: str

    def __str__(self) -> str:
        return f"{self.authors} ({self.year}). {self.title}. {self.where}."


class References(tuple[Reference, ...]):
    """References in the order in which a fit used them; prints one a line, with what each is for."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n".join(f"{one.of}: {one}" for one in self)


MIXED = (
    "Bates, D., Maechler, M., Bolker, B., Walker, S.",
    2015,
    "Fitting linear mixed-effects models using lme4",
    "Journal of Statistical Software 67(1), 1-48",
)
TFP = (
    "Dillon, J. V., Langmore, I., Tran, D., et al.",
    2017,
    "TensorFlow Distributions",
    "arXiv:1711.10604",
)
REML = (
    "Patterson, H. D., Thompson, R.",
    1971,
    "Recovery of inter-block information when block sizes are unequal",
    "Biometrika 58, 545-554",
)
LAPLACE = (
    "Tierney, L., Kadane, J. B.",
    1986,
    "Accurate approximations for posterior moments and marginal densities",
    "Journal of the American Statistical Association 81, 82-86",
)
LAPLACE_GRADIENT = (
    "Kristensen, K., Nielsen, A., Berg, C. W., Skaug, H., Bell, B. M.",
    2016,
    "TMB: Automatic differentiation and Laplace approximation",
    "Journal of Statistical Software 70(5), 1-21",
)
QUADRATURE = (
    "Pinheiro, J. C., Bates, D. M.",
    1995,
    "Approximations to the log-likelihood function in the nonlinear mixed-effects model",
    "Journal of Computational and Graphical Statistics 4, 12-35",
)
TRAPEZOIDS = (
    "Trefethen, L. N., Weideman, J. A. C.",
    2014,
    "The exponentially convergent trapezoidal rule",
    "SIAM Review 56, 385-458",
)
MCEM = (
    "Wei, G. C. G., Tanner, M. A.",
    1990,
    "A Monte Carlo implementation of the EM algorithm and the poor man's data augmentation algorithms",
    "Journal of the American Statistical Association 85, 699-704",
)
HMC = (
    "Neal, R. M.",
    2011,
    "MCMC using Hamiltonian dynamics",
    "Handbook of Markov Chain Monte Carlo, chapter 5. Chapman and Hall/CRC",
)
NEWTON = (
    "Lange, K.",
    1995,
    "A gradient algorithm locally equivalent to the EM algorithm",
    "Journal of the Royal Statistical Society B 57, 425-437",
)
INFORMATION = (
    "Louis, T. A.",
    1982,
    "Finding the observed information matrix when using the EM algorithm",
    "Journal of the Royal Statistical Society B 44, 226-233",
)
RHAT = (
    "Vehtari, A., Gelman, A., Simpson, D., Carpenter, B., Buerkner, P.-C.",
    2021,
    "Rank-normalization, folding, and localization: an improved R-hat for assessing convergence of MCMC",
    "Bayesian Analysis 16, 667-718",
)
BRIDGE = (
    "Meng, X.-L., Wong, W. H.",
    1996,
    "Simulating ratios of normalizing constants via a simple identity: a theoretical exploration",
    "Statistica Sinica 6, 831-860",
)
PATH = (
    "Oates, C. J., Papamarkou, T., Girolami, M.",
    2016,
    "The controlled thermodynamic integral for Bayesian model evidence comparison",
    "Journal of the American Statistical Association 111, 634-645",
)
VARIATES = (
    "Mira, A., Solgi, R., Imparato, D.",
    2013,
    "Zero variance Markov chain Monte Carlo for Bayesian estimators",
    "Statistics and Computing 23, 653-662",
)
NEARER = (
    "Opper, M., Archambeau, C.",
    2009,
    "The variational Gaussian approximation revisited",
    "Neural Computation 21, 786-792",
)
CONJUGATE = (
    "Hestenes, M. R., Stiefel, E.",
    1952,
    "Methods of conjugate gradients for solving linear systems",
    "Journal of Research of the National Bureau of Standards 49, 409-436",
)
PROBES = (
    "Hutchinson, M. F.",
    1990,
    "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines",
    "Communications in Statistics - Simulation and Computation 19, 433-450",
)

DISTRIBUTIONAL = (
    "Rigby, R. A., Stasinopoulos, D. M.",
    2005,
    "Generalized additive models for location, scale and shape",
    "Journal of the Royal Statistical Society C 54, 507-554",
)

NUTS = (
    "Hoffman, M. D., Gelman, A.",
    2014,
    "The No-U-Turn sampler: adaptively setting path lengths in Hamiltonian Monte Carlo",
    "Journal of Machine Learning Research 15, 1593-1623",
)

ADVI = (
    "Kucukelbir, A., Tran, D., Ranganath, R., Gelman, A., Blei, D. M.",
    2017,
    "Automatic differentiation variational inference",
    "Journal of Machine Learning Research 18(14), 1-45",
)

PSIS = (
    "Vehtari, A., Simpson, D., Gelman, A., Yao, Y., Gabry, J.",
    2024,
    "Pareto smoothed importance sampling",
    "Journal of Machine Learning Research 25(72), 1-58",
)


def references(fit: FittedModel) -> References:
    """List the papers of the model and of the methods that a fit used.

    Args:
      fit: a fitted model.
    Returns:
      The references, in the order model, likelihood, algorithm, errors.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"), reml=True)
      >>> [(one.of, one.year) for one in references(fit)]
      [('model and equations', 2015), ('restricted likelihood', 1971)]
    """
    return References(Reference(*paper, of) for paper, of in _used(fit))


def _used(fit: FittedModel) -> Iterator[tuple[tuple[str, int, str, str], str]]:
    yield MIXED, "model and equations"
    family = fit.model.family.base
    if fit.model.family.within is not None:
        yield DISTRIBUTIONAL, "predictors of several parameters"
    if family.paper is not None:
        yield family.paper, f"{family.name} responses"
    if fit.reml:
        yield REML, "restricted likelihood"
    if not fit.model.family.is_normal:
        use = "likelihood" if fit.has_modes else "starting values"
        yield LAPLACE, f"Laplace approximation, for {use}"
        yield LAPLACE_GRADIENT, "its gradient"
    if fit.marginal.is_exact:
        yield QUADRATURE, "integrals over the random effects"
        yield TRAPEZOIDS, "their nodes"
    if not fit.is_factored:
        yield CONJUGATE, "equations by conjugate gradients"
        yield PROBES, "determinants by random probes"
    if fit.draws is not None:
        if fit.draws.surrogate is None:
            yield NUTS, "draws of parameters and effects"
            yield RHAT, "convergence of the chains, and effective draws"
        else:
            yield ADVI, "what stands for the posterior distribution"
            yield PSIS, "Pareto's k, and importance ratios"
        yield TFP, "densities and samplers"
    if fit.is_drawn:
        yield MCEM, "Monte Carlo EM"
        yield HMC, "draws of the random effects"
        yield VARIATES, "control variates of the scores"
        yield TFP, "densities and samplers"
        yield NEWTON, "maximization step"
        if fit.information == "monte carlo":
            yield INFORMATION, "standard errors"
        yield RHAT, "convergence of the chains"
        if not fit.model.family.is_normal:
            yield BRIDGE, "log-likelihood"
            if fit.is_factored:
                yield NEARER, "the Gaussian that the log-likelihood starts from"
                yield PATH, "log-likelihood of many rows"
