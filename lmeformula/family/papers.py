"""The papers that families are from, or are described in."""

from __future__ import annotations

from typing import NamedTuple


class Paper(NamedTuple):
    """A paper or a book.

    Attributes:
      authors: surnames with initials.
      year: of publication.
      title: of the paper or the book.
      where: journal, volume and pages, or the publisher.
    """

    authors: str
    year: int
    title: str
    where: str


GLM = Paper(
    "McCullagh, P., Nelder, J. A.",
    1989,
    "Generalized Linear Models, 2nd ed.",
    "Chapman and Hall",
)
ORDINAL = Paper(
    "McCullagh, P.",
    1980,
    "Regression models for ordinal data",
    "Journal of the Royal Statistical Society B 42, 109-142",
)
ORDINAL_TUTORIAL = Paper(
    "Buerkner, P.-C., Vuorre, M.",
    2019,
    "Ordinal regression models in psychology: a tutorial",
    "Advances in Methods and Practices in Psychological Science 2, 77-101",
)
NEGATIVE_BINOMIAL = Paper(
    "Hardin, J. W., Hilbe, J. M.",
    2018,
    "Generalized Linear Models and Extensions, 4th ed.",
    "Stata Press",
)
BETA = Paper(
    "Ferrari, S., Cribari-Neto, F.",
    2004,
    "Beta regression for modelling rates and proportions",
    "Journal of Applied Statistics 31, 799-815",
)
STUDENT = Paper(
    "Lange, K. L., Little, R. J. A., Taylor, J. M. G.",
    1989,
    "Robust statistical modeling using the t distribution",
    "Journal of the American Statistical Association 84, 881-896",
)
ZERO_INFLATED = Paper(
    "Lambert, D.",
    1992,
    "Zero-inflated Poisson regression, with an application to defects in manufacturing",
    "Technometrics 34, 1-14",
)
HURDLE = Paper(
    "Mullahy, J.",
    1986,
    "Specification and testing of some modified count data models",
    "Journal of Econometrics 33, 341-365",
)
GENERALIZED_POISSON = Paper(
    "Consul, P. C., Jain, G. C.",
    1973,
    "A generalization of the Poisson distribution",
    "Technometrics 15, 791-799",
)
BETA_BINOMIAL = Paper(
    "Skellam, J. G.",
    1948,
    "A probability distribution derived from the binomial distribution by regarding the probability of success "
    "as variable between the sets of trials",
    "Journal of the Royal Statistical Society B 10, 257-261",
)
CATEGORICAL = Paper(
    "McFadden, D.",
    1974,
    "Conditional logit analysis of qualitative choice behavior",
    "In Zarembka, P. (ed.), Frontiers in Econometrics, Academic Press, 105-142",
)
TWEEDIE = Paper(
    "Dunn, P. K., Smyth, G. K.",
    2005,
    "Series evaluation of Tweedie exponential dispersion model densities",
    "Statistics and Computing 15, 267-280",
)
