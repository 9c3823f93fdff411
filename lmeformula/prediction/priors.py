"""The priors of a fit's parameters, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmeformula.fit import FittedModel

if TYPE_CHECKING:
    import pandas as pd

FLAT = "flat"
# What the density of a prior is of.
SCALES = {
    "fixed": "coefficient",
    "sd": "standard deviation",
    "cor": "correlation matrix",
    "cov": "covariance matrix",
    "own": "own parameter",
    "structure": "parameter of the covariance",
}


def priors_of_fit(fit: FittedModel) -> pd.DataFrame:
    """Lay the priors out, a row for each parameter.

    Args:
      fit: a fitted model.
    Returns:
      frame: by the names of parameters, or of matrices of them, "cor(g)" and "cov(g)": prior, "flat" where
        there is none; scale, what its density is of; and given, the name that it was given for.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1|Batch)", lf.datasets.load("dyestuff2"), priors={"sd": "gamma(2.5, 0)"})
      >>> fit.priors["prior"].to_dict()
      {'Intercept': 'flat', 'sd(Batch)': 'gamma(2.5, 0)', 'sigma': 'flat'}
    """
    import pandas as pd

    space, rows = fit.model.space, {}
    covered = set()
    for one in fit.model.priors:
        for name, term in zip(one.names, one.terms, strict=True):
            scale = SCALES[one.of]
            if one.is_relative:
                scale += " over sigma" if one.of == "sd" else " over sigma^2"
            rows[name] = (one.prior.text, scale, one.key)
            if one.of in ("fixed", "own", "structure"):
                covered.add(name)
                continue
            names = space.names[space.theta_slices[term]]
            structure, columns = space.terms[term].structure, space.terms[term].columns
            labels = structure.labels(columns)
            for known, (kind, _) in zip(names, labels, strict=True):
                whole = one.of == "cov" or (one.of == "cor" and kind == "cor")
                single = one.of == "sd" and known == name
                if whole or single:
                    covered.add(known)
    order = [name for name in space.names if name not in covered or name in rows]
    flat = {name: (FLAT, "", "") for name in order if name not in rows}
    matrices = [name for name in rows if name not in order]
    every = flat | rows
    return pd.DataFrame(
        [every[name] for name in (*order, *matrices)],
        index=pd.Index([*order, *matrices], name="parameter"),
        columns=["prior", "scale", "given"],
    )
