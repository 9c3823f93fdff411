"""The unconstrained coordinates of a model's parameters: those of the variables of its joint distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats, Tensor
from lmeformula.covariance.student import LEAST_FREEDOM
from lmeformula.model.compile import Model
from lmeformula.model.joint import build_joint
from lmeformula.model.params import Params


class Block(NamedTuple):
    """One variable of the joint distribution among the coordinates.

    Attributes:
      name: what the joint distribution calls it.
      place: where its unconstrained values lie among the d.
      event: their shape.
      bijector: from unconstrained to natural values; None where they are the same.
    """

    name: str
    place: slice
    event: tuple[int, ...]
    bijector: Any


class OfTerm(NamedTuple):
    """The variables of a term's covariance.

    Attributes:
      stddev: the name of its standard deviations.
      correlation: that of its correlations; "" where it has none.
      df: that of its degrees of freedom; "" where its effects are normal.
      num_columns: k.
      structure: of its covariance.
    """

    stddev: str
    correlation: str
    df: str
    num_columns: int
    structure: Any

    def factor(self, natural: Mapping[str, Tensor]) -> Tensor:
        """(c, k, k) lower-triangular factors of covariances, from natural values of c chains."""
        k = self.num_columns
        sd = natural[self.stddev]
        sd = sd[:, None] if sd.shape.rank == 1 else sd
        sd = tf.broadcast_to(sd, [tf.shape(sd)[0], k])
        if not self.correlation:
            return tf.linalg.diag(sd)
        value = natural[self.correlation]
        return sd[:, :, None] * tf.vectorized_map(
            lambda one: self.structure.tfp_factor(one, k), value
        )


class Coordinates:
    """The d unconstrained coordinates x: fixed effects, then of each term and of the family what is free.

    Args:
      model: a model.
      params: natural values, for which `start` stands, and at which `joint` is.
    """

    def __init__(self, model: Model, params: Params) -> None:
        self.model, self.space = model, model.space
        self.joint = joint = build_joint(
            model.design,
            params,
            family=model.family,
            sigma=model.space.held_sd,
            dtype="float64",
        )
        self.blocks: list[Block] = []
        start: list[Floats] = []
        size = 0
        for name, variable in joint.variables.items():
            is_free = isinstance(variable, tf.Variable)
            free = np.asarray(variable if is_free else variable.pretransformed_input)
            place = slice(size, size + free.size)
            bijector = None if is_free else variable.bijector
            self.blocks.append(Block(name, place, free.shape, bijector))
            start.append(free.reshape(-1))
            size = place.stop
        self.start = np.concatenate(start)
        known = {block.name for block in self.blocks}
        self.terms: list[OfTerm] = []
        for term, shape in zip(model.design.terms, model.space.terms, strict=True):
            part = joint.names[term.name]
            named = [f"{what}_{part}" for what in ("stddev", "correlation", "df")]
            sd, correlation, df = (name if name in known else "" for name in named)
            self.terms.append(OfTerm(sd, correlation, df, len(term.columns), shape.structure))
        own = model.space.own
        self.own = own.variable if own.variable in known else ""

    @property
    def size(self) -> int:
        """d."""
        return len(self.start)

    @property
    def num_fixed(self) -> int:
        """p, how many of them are fixed effects: the first ones."""
        return self.space.num_fixed

    def natural(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Natural values of each variable, and the log Jacobian determinant.

        Args:
          x: (d, c) of c chains.
        Returns:
          natural: (c, ...) of each.
          jacobian: (c,) log of the determinant of the natural values in x.
        """
        found, jacobian = {}, tf.zeros([tf.shape(x)[1]], x.dtype)
        for block in self.blocks:
            free = tf.reshape(tf.transpose(x[block.place]), [-1, *block.event])
            if block.bijector is None:
                found[block.name] = free
                continue
            found[block.name] = block.bijector.forward(free)
            rank = max(len(block.event), block.bijector.forward_min_event_ndims)
            jacobian += block.bijector.forward_log_det_jacobian(free, event_ndims=rank)
        return found, jacobian

    def from_natural(self, natural: Mapping[str, Tensor]) -> Floats:
        """(m, d) coordinates of natural values (m, ...) of each variable."""
        found = []
        for block in self.blocks:
            value = tf.convert_to_tensor(natural[block.name], tf.float64)
            free = value if block.bijector is None else block.bijector.inverse(value)
            found.append(np.asarray(free).reshape(len(value), -1))
        return np.concatenate(found, axis=1)

    def own_values(self, x: Tensor) -> tuple[Tensor, ...]:
        """The family's own parameters (c,) each, from x (d, c)."""
        free = tf.unstack(x[self.size - self.space.own.size :])
        return tuple(
            tf.convert_to_tensor(value, x.dtype) for value in self.space.own.scale.tensors(free)
        )

    def to_psi(self, x: Floats) -> Floats:
        """(m, d) unconstrained parameters as the model's space has them, from coordinates (m, d)."""
        m, space = len(x), self.space
        natural, _ = self.natural(tf.constant(x.T))
        found = np.empty((m, space.size))
        found[:, : space.num_fixed] = x[:, : space.num_fixed]
        for term, place in zip(self.terms, space.theta_slices, strict=True):
            factors = term.factor(natural).numpy()
            covariances = factors @ factors.transpose(0, 2, 1)
            found[:, place] = [term.structure.to_free(each) for each in covariances]
            if term.df:
                found[:, place.stop - 1] = np.log(natural[term.df].numpy() - LEAST_FREEDOM)
        found[:, space.own_slice] = x[:, self.size - space.own.size :]
        return found
