"""A user's bijector tried out before it meets data: shapes, precision, and one way and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.family.bijected import slopes
from lmeformula.family.trial import brief
from lmeformula.startup import tf, tfp

TYPED = "Numbers inside of a bijector must be float64: write tfb.Shift(np.float64(1)), not tfb.Shift(1.0)."


def check_bijector(way: Any, what: str) -> None:
    """Check that a bijector takes and gives numbers one by one, in double precision, one way and back.

    Args:
      way: what the user gave.
      what: for the error: "the link of ...".
    Raises:
      ModelError: if it does not.
    """
    if not isinstance(way, tfp.bijectors.Bijector):
        raise ModelError(
            f"{what} is {kinds.shown(way)}, not a tfb.Bijector",
            hint="For positive values write tfb.Exp() or (0, np.inf), for chances tfb.Sigmoid().",
        )
    if way.forward_min_event_ndims != 0 or way.inverse_min_event_ndims != 0:
        raise ModelError(
            f"{what} is a bijector of vectors",
            hint="Give a bijector of scalars, such as tfb.Exp(), to each parameter of its own.",
        )
    points = tf.constant([-1.0, -0.3, 0.0, 0.4, 1.0], tf.float64)
    try:
        values = way.forward(points)
        back = way.inverse(values)
        rises = np.array([float(slopes(way, point)[0]) for point in points])
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise ModelError(f"{what} cannot be evaluated: {brief(error)}", hint=TYPED) from error
    if values.dtype != tf.float64 or values.shape != points.shape:
        raise ModelError(
            f"{what} makes {values.dtype.name} of the shape {tuple(values.shape)} from five float64 "
            "numbers",
            hint=TYPED,
        )
    is_good = np.isfinite(values).all() and np.allclose(back, points, rtol=1e-6, atol=1e-8)
    if not is_good or not (np.abs(rises) > 0).all():
        raise ModelError(
            f"{what} is not one-to-one between -1 and 1: it makes {np.round(values, 4).tolist()} of "
            f"{points.numpy().tolist()}",
            hint="It must take any number: tfb.Exp() does, tfb.Square() does not.",
        )
