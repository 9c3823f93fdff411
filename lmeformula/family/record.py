"""The record of a response family: its distribution, and what may be said of it more directly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.design.design import Design, LinearPredictor
from lmeformula.family.limit import Limit
from lmeformula.family.notation import Notation
from lmeformula.family.own import NO_OWN, Own, Scale
from lmeformula.family.papers import Paper
from lmeformula.family.runaway import Runaway
from lmeformula.family.series import Series
from lmeformula.formula.ir import FIRST
from lmeformula.startup import tf

Arrays = tuple[Floats, ...]


class Slopes(NamedTuple):
    """The rows' log density and its first two derivatives in the linear predictor.

    Attributes:
      values: (n,).
      first: (n,).
      second: (n,).
    """

    values: Floats
    first: Floats
    second: Floats

    @property
    def value(self) -> float:
        """The log density of all rows."""
        return float(self.values.sum())


class Depths(NamedTuple):
    """The further derivatives that the gradient of a Laplace approximation takes.

    Attributes:
      third: (n,) in the linear predictor; (v, K, n) of stacked rows, see `lmeformula.model.stack`.
      own_each: (f, n) of the log density in the own parameters.
      own_own: (f, f) second derivative of the summed one in them.
      own_first: (f, n) mixed: derivative in the own parameters of the first one in the predictor.
      own_second: (f, n) the same of the second one.
    """

    third: Floats
    own_each: Floats
    own_own: Floats
    own_first: Floats
    own_second: Floats

    @property
    def own(self) -> Floats:
        """(f,) derivative of the summed log density in the own parameters."""
        return np.asarray(self.own_each.sum(axis=1), float)

    @classmethod
    def of_predictor(cls, third: Floats) -> Depths:
        """Those of a family without own parameters."""
        rows = np.zeros((0, len(third)))
        return cls(third, rows, np.zeros((0, 0)), rows, rows)


class Scores(NamedTuple):
    """The rows' log density and its first derivatives, which an integral over effects takes.

    Attributes:
      values: (n,).
      first: (K n,) in the linear predictors.
      own_each: (f, n) in the own parameters.
      second: (n,) second derivatives in the predictors, where they came along.
    """

    values: Floats
    first: Floats
    own_each: Floats
    second: Floats | None = None


class ClosedForm(NamedTuple):
    """Derivatives written out in NumPy, where automatic differentiation would cost a start of TensorFlow.

    Attributes:
      slopes: (eta (n,), response, own natural (f,)) -> Slopes.
      depths: the same -> Depths, with derivatives in the natural own parameters.
      scores: the same -> Scores, where these are not taken from the others.
      takes_columns: whether predictors may be (n, N) beside a response of columns (n, 1), so that what is of
        the response alone is worked out once for all of a row's.
    """

    slopes: Callable[[Floats, Arrays, Floats], Slopes]
    depths: Callable[[Floats, Arrays, Floats], Depths]
    scores: Callable[[Floats, Arrays, Floats], Scores] | None = None
    takes_columns: bool = False


class Predicted(NamedTuple):
    """An own parameter that may have a formula, and so a linear predictor, of its own.

    Attributes:
      name: what the formula is given for, and how its coefficients are called: `sigma_x`.
      link: "log", "logit", "identity", or "log(. - 1)" for what is above one; of other bounds see `own_links`.
      place: which of the own parameters it is; None for the inverse of the scale of latent variables, by which
        predictor and thresholds are multiplied.
      aliases: other names that are taken for it.
      start: design of the first predictor -> where its predictor starts; by default the link of where the
        parameter does.
      has_intercept: False where the first predictor and the own parameters have its constant already.
      bounds: of a user's parameter: the link is theirs.
    """

    name: str
    link: str
    place: int | None = 0
    aliases: tuple[str, ...] = ()
    start: Callable[[Design], float] | None = None
    has_intercept: bool = True
    bounds: tuple[float, float] | None = None


def _no_further(design: Design) -> tuple[float, ...]:
    """Where further predictors start, of which there are none: a named function, which goes into pickles."""
    return ()


class Family(NamedTuple):
    """One response family with its link.

    A name, what the response must look like, its TFP distribution and its mean make a family; automatic
    differentiation does the rest. What follows them makes it faster, or gives it parameters of its own.
    Functions of tensors have TensorFlow from `startup`, so that a family can be named without it; they take
    the linear predictor eta, the response arrays, and the own parameters on their natural scale as a tuple.

    Attributes:
      name: as users write it.
      link: the link function's name.
      response: Design -> the response arrays, n in front, that the others read: the response itself first.
        Raises ModelError for one that does not fit.
      distribution: (eta (..., n), response, own) -> distribution of the rows; where `has_weights`, of one
        response of each.
      mean: (eta (n,), own natural (f,)) -> expected response (n,): of successes out of trials their
        proportion, of ordered categories their number, from 1.
      working: response arrays -> (n,) rough responses on the scale of the linear predictor, to start from.
      own: Design -> its own parameters.
      variance: (mean (n,), own (f,)) -> variance of a response of weight one.
      deviance: (response (n,), mean (n,), own (f,)) -> unit deviances (n,), of weight and dispersion one: twice
        what a mean that is the response would gain; None where the mean does not say how much that is.
      cdf: (responses (n,), eta (n,), own) -> chances (n,) of a response up to those, where the distribution has
        none, or a slow one: in closed form by SciPy.
      measure: what its densities are of: "counts", "numbers", "classes" (two, yes or no), "shares" (of
        successes out of trials), "categories"; "" for what no other family has. Likelihoods of the same counts
        or numbers can be compared.
      is_normal: whether responses are normal about their predictor: the likelihood is known exactly then, and
        the own parameter is the residual standard deviation, which can be held fixed.
      predictor_variance: own -> variance of what the predictor is the mean of, where that is not the
        response.
      is_latent: whether the response says between which thresholds a variable lies, whose distribution is the
        link's.
      limits: of own parameters, where it becomes a simpler family.
      runaways: own parameters that have no estimate where the data are known exactly.
      says: what its own parameters are, in a sentence below their table.
      paper: that it is from.
      tfp: the class of its distribution in TFP, and which of that one's parameters the predictor is, by which
        joint distributions written by hand are recognised; None where it has none.
      notation: how it is written; None for one that is written by its own name and parameters.
      overdispersion: of successes out of trials that vary more than independent ones, (trials (n,), own (f,))
        -> how many times as much their share varies.
      has_trials: whether the response counts successes out of trials, the second of its arrays.
      has_weights: whether log densities are multiplied by prior weights, the last of the response's arrays.
      has_intercept: False where own parameters take the place of a fixed intercept.
      log_density: (eta (n, c), response, own) -> log density (n, c), elementwise in eta and in own parameters,
        each of which is a scalar, (c,) or (n, 1). By default the distribution's.
      slope: (eta (n, c), response, own) -> its derivative in eta (n, c); by default automatic.
      closed: derivatives in NumPy.
      serves: response arrays -> whether `closed` is the way to their derivatives.
      series: (series of eta, response, series of the own parameters) -> that of the log density (n,), of which
        derivatives are read off where there are none in `closed`.
      categories: Design -> names of the response's ordered categories; None where it has none.
      probabilities: (eta (n,), own (f,)) -> (n, K) of the categories.
      thresholds: the pattern of the thresholds between categories, as users write it; "" where there are none.
      atoms: of a response that is otherwise continuous, the values that have a chance.
      own_names: names of the own parameters of a user's family, which no table has.
      scale: of these, which no file can hold.
      predicted: the own parameters that may have a predictor of their own.
      predictors: names of the K linear predictors. Where K is above one the functions above take (K, n)
        predictors in NumPy, K of them in `series`, (K, n, c) in `log_density` and (..., K, n) in
        `distribution`: see `as_taken`.
      within: (predictors (K, n), own) -> the family with one predictor behind this one, its predictor (n,),
        and its own parameters, some (n,); None where there is none behind it.
      starts: Design of the first predictor -> where each further predictor starts.
      grown_from: the family with one predictor behind this one; None where it is that itself.
      expand: Design -> the designs of a predictor for each category, for families that have.
      grow: names of such predictors -> the family with them.
    """

    name: str
    link: str
    response: Callable[[Design], Arrays]
    distribution: Callable[[Tensor, Arrays, tuple[Tensor, ...]], Any]
    mean: Callable[[Floats, Floats], Floats]
    working: Callable[[Arrays], Floats]
    own: Callable[[Design], Own] = lambda design: NO_OWN
    variance: Callable[[Floats, Floats], Floats] | None = None
    deviance: Callable[[Floats, Floats, Floats], Floats] | None = None
    cdf: Callable[[Floats, Floats, Floats], Floats] | None = None
    measure: str = ""
    is_normal: bool = False
    predictor_variance: Callable[[Floats], Floats] | None = None
    is_latent: bool = False
    limits: tuple[Limit, ...] = ()
    runaways: tuple[Runaway, ...] = ()
    says: str = ""
    paper: Paper | None = None
    notation: Notation | None = None
    tfp: tuple[str, str] | None = None
    overdispersion: Callable[[Floats, Floats], Floats] | None = None
    has_trials: bool = False
    has_weights: bool = False
    has_intercept: bool = True
    log_density: Callable[[Tensor, Arrays, tuple[Tensor, ...]], Tensor] | None = None
    slope: Callable[[Tensor, Arrays, tuple[Tensor, ...]], Tensor] | None = None
    closed: ClosedForm | None = None
    serves: Callable[[Arrays], bool] = lambda response: True
    series: Callable[[Any, Arrays, Sequence[Series]], Series] | None = None
    categories: Callable[[Design], tuple[str, ...]] | None = None
    probabilities: Callable[[Floats, Floats], Floats] | None = None
    thresholds: str = ""
    atoms: tuple[float, ...] = ()
    own_names: tuple[str, ...] = ()
    scale: Scale | None = None
    predicted: tuple[Predicted, ...] = ()
    predictors: tuple[str, ...] = (FIRST,)
    within: Callable[[Floats, Floats], tuple[Any, Floats, Any]] | None = None
    starts: Callable[[Design], tuple[float, ...]] = _no_further
    grown_from: Any = None
    expand: Callable[[Design], tuple[LinearPredictor, ...]] | None = None
    grow: Callable[[tuple[str, ...]], Any] | None = None

    @property
    def base(self) -> Family:
        """The family with one predictor: behind this one, or itself."""
        return self if self.grown_from is None else self.grown_from

    @property
    def further(self) -> tuple[str, ...]:
        """What `with_predictors` makes this family with from `base`."""
        return self.predictors if self.base.grow is not None else self.predictors[1:]

    @property
    def is_distributional(self) -> bool:
        """Whether own parameters have linear predictors."""
        return self.within is not None

    @property
    def has_derivatives(self) -> bool:
        """Whether derivatives of its log density come without TensorFlow."""
        return self.closed is not None or self.series is not None

    @property
    def is_unordered(self) -> bool:
        """Whether the response has categories without an order, which have no mean."""
        return self.base.expand is not None

    def as_taken(self, eta: Any, axis: int = -2) -> Any:
        """Predictors (..., K, n) as the functions of this family take them: (..., n) where there is one.

        Args:
          eta: the predictors, an array or a tensor.
          axis: along which they lie: -2, or 0 of (K, n, c).
        """
        if len(self.predictors) > 1:
            return eta
        return eta[0] if axis == 0 else eta[..., 0, :]

    @property
    def written(self) -> str:
        """The family as users write it, with its link and, where they are not flexible, its thresholds."""
        pattern = "" if self.thresholds in ("", "flexible") else f", thresholds={self.thresholds}"
        return f"{self.name}({self.link}{pattern})"

    def __repr__(self) -> str:
        return f"Family({self.written})"


def log_density(
    family: Family, eta: Tensor, response: tuple[Tensor, ...], own: tuple[Tensor, ...]
) -> Tensor:
    """The log density (n, c) of a family's rows at predictors (n, c), from wherever the family has it."""
    if family.log_density is not None:
        return family.log_density(eta, response, own)
    # A distribution has its rows last.
    turned = tuple(
        tf.transpose(value + tf.zeros([1, 1], value.dtype)) if value.shape.rank else value
        for value in own
    )
    rows = family.distribution(tf.transpose(eta), response, turned)
    found = rows.log_prob(response[0])
    return tf.transpose(found * response[-1] if family.has_weights else found)
