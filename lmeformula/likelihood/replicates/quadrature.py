"""The likelihoods of many responses by quadrature: the blocks of all of them are those of one large model."""

from __future__ import annotations

import numpy as np

from lmeformula.arrays import Floats, Ints
from lmeformula.family import ClosedForm
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.quadrature.integral import REACH, Integral, sum_nodes
from lmeformula.likelihood.quadrature.integrand import Integrand
from lmeformula.likelihood.quadrature.nodes import Frame
from lmeformula.likelihood.quadrature.rows import Place
from lmeformula.likelihood.replicates.ascent import Heights
from lmeformula.likelihood.replicates.laplace import LaplaceReplicates, is_once
from lmeformula.model.compile import Model


class QuadratureReplicates:
    """The likelihoods of m responses of a family without own parameters; see `LaplaceReplicates`.

    Args:
      model: of any response.
      of: its integrand.
      laplace: the approximations, around whose modes nodes are laid.
      num: m.
    """

    def __init__(self, model: Model, of: Integrand, laplace: LaplaceReplicates, num: int) -> None:
        self.model, self.integrand, self.laplace = model, of, laplace
        # Blocks begin with as many nodes as they have taken at most.
        self._numbers = np.zeros((num, len(laplace.arrays.firsts)), np.int64)

    def look(self, x: Floats, which: Ints) -> Heights:
        """See `Look`."""
        laplace, (a, n) = self.laplace, (len(x), len(self.laplace.arrays.level))
        coefficients, own, _ = laplace.split(x)
        with np.errstate(all="ignore"):
            modes = laplace.modes(x, which)
            if is_once(which):
                laplace.remember(x, which, modes, np.zeros((a, 0, n)))
            k = modes.factors.shape[2]
            frame = Frame.of(modes.at.u.reshape(-1, k), modes.M.reshape(-1, k, k), REACH, None)
            base = laplace.arrays.offset + coefficients @ laplace.arrays.X.T
            place = self._place(which, base, laplace.arrays.Z @ modes.factors)
            found = Integral(place.of, place.at)
            found.numbers[:] = self._numbers[which].reshape(-1)
            slopes, pulls = sum_nodes(place, frame, found)
        np.maximum.at(self._numbers, which, found.numbers.reshape(a, -1))
        in_factor = laplace.arrays.Z.T @ pulls.reshape(a, n, k)
        scores = laplace.scores(slopes.reshape(a, n), in_factor, own)
        return laplace.heights(found.logs.reshape(a, -1).sum(axis=1), scores, modes, own)

    def _place(self, which: Ints, base: Floats, loads: Floats) -> Place:
        """The blocks of some replicates as those of one model, their rows one replicate behind the other."""
        firsts, (a, n) = self.laplace.arrays.firsts, base.shape
        num_levels, k = len(firsts), loads.shape[2]
        response, family = self.laplace.rows.response(which), self.model.family
        starts = (np.arange(a)[:, None] * n + firsts).ravel()
        many = self.integrand._replace(
            of_rows=np.zeros(0, np.int64),
            effects=np.zeros((a * num_levels, k), np.int64),
            groups=np.arange(a * num_levels),
            local=np.zeros(0, np.int64),
            columns=(),
            order=np.arange(a * n),
            ends=np.append(starts, a * n),
            response=response,
            readings={},
        )
        closed: ClosedForm | None = family.closed
        if closed is not None and not family.serves(response):
            closed = None
        at = At(np.zeros(0), (), np.zeros(0))
        return Place(many, at, closed, base.reshape(-1), loads.reshape(-1, k), ())
