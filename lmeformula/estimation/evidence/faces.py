"""The faces that covariances rest on at the end of a fit, each with how the likelihood leaves it."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.covariance.chart import LinearChart
from lmeformula.estimation.claims import Bound
from lmeformula.likelihood.ascent import FREEING_CURVATURE
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.model.params import ParamSpace

# A covariance on a face has no more than this share of its size in other directions.
OF_LOWER_RANK = 1e-8


def bounds_of(
    space: ParamSpace,
    charts: FactorSpace,
    elements: Floats,
    slopes: tuple[Floats, ...],
    pulls: tuple[Floats, ...],
    inside: Mask,
    num_rows: float,
    noise: float = 0.0,
) -> tuple[Bound, ...]:
    """The faces that covariances rest on, each with the best way off.

    Args:
      space: the parameter space.
      charts: the charts of the factors.
      elements: (t,) of all charts; those that rest on a face do so exactly.
      slopes: (k, k) derivatives of the log-likelihood in each factor.
      pulls: (k, k) the same in each covariance, times -2.
      inside: (d,) which parameters are off their bounds.
      num_rows: the scale of the likelihood.
      noise: rounding of a rise, by row.
    """
    scores = charts.split(charts.pull_back(elements, slopes))
    found = []
    for term, face in charts.faces:
        places = charts.places(term, face)
        if not (elements[places] == charts.at_rest(term, face, elements)[places]).all():
            continue
        chart, own = charts.charts[term], charts.split(elements)[term]
        curvature = chart.escape(face, own, scores[term], slopes[term], pulls[term]).curvature
        if isinstance(chart, LinearChart) and not chart.on_diagonal.all():
            curvature = off_rank(chart, own, pulls[term])
        here = space.theta_slices[term]
        names = np.array(space.names[here], object)[~inside[here]]
        concerned = tuple(names) or (space.terms[term].name,)
        found.append(Bound(concerned, curvature / num_rows, FREEING_CURVATURE, noise))
    return tuple(found)


def extrapolated(near: tuple[Bound, ...], far: tuple[Bound, ...]) -> tuple[Bound, ...]:
    """Bounds as they are on the faces themselves, from next to these and from twice as far.

    What the two differ by is allowed for: it is rounding as well, which grows as faces come near.

    Example:
      >>> near, far = Bound(("sd(g)",), 2e-6, 1e-6), Bound(("sd(g)",), 4e-6, 1e-6)
      >>> extrapolated((near,), (far,))
      (Bound(names=('sd(g)',), rise=0.0, allowed=3e-06, noise=0.0),)
    """
    return tuple(
        one._replace(
            rise=2.0 * one.rise - other.rise, allowed=one.allowed + abs(other.rise - one.rise)
        )
        for one, other in zip(near, far, strict=True)
    )


def off_rank(chart: LinearChart, own: Floats, pull: Floats) -> float:
    """Twice the rise on the best way to a covariance of higher rank, by the square of the distance.

    What is in the range of a singular covariance already is no way off: the likelihood is level there.

    Args:
      chart: of an unstructured covariance.
      own: (t,) its elements, on a face.
      pull: (k, k) the derivative in the covariance, times -2.
    """
    back = chart.back
    ways, sizes, _ = np.linalg.svd(np.linalg.solve(back, chart.factor(own)))
    beyond = back @ ways[:, sizes <= OF_LOWER_RANK * sizes[0]]
    return -float(np.linalg.eigvalsh(beyond.T @ pull @ beyond)[0])
