"""This library. The estimates and the standard errors of all parameters are part of the time."""

from __future__ import annotations

import sys

from common import Task, read_data, read_task, run

# This file has the library's name and comes first on the path.
sys.path.pop(0)
sys.modules.pop("lmeformula", None)

import numpy as np  # noqa: E402

import lmeformula as lf  # noqa: E402
from lmeformula.inference.bootstrap import bootstrap  # noqa: E402
from lmeformula.startup import import_tensorflow  # noqa: E402

# Of a parametric bootstrap.
NUM_REFITS = 1000


def main(task: Task) -> None:
    data = read_data(task)
    if task.kind == "cumulative":
        import pandas as pd

        data["y"] = pd.Categorical(data["y"], ordered=True)
    is_refit, is_bootstrap = task.method == "refit", task.method == "bootstrap"
    is_validation = task.method == "cross-validation"
    way = "exact" if task.kind == "gaussian" else "laplace"
    is_after = is_refit or is_bootstrap or is_validation
    options = {"method": way if is_after else task.method, "progress": False}

    if task.method == "mcem":
        # Imports are outside of the clock, the peers' and this one.
        import_tensorflow()

    def fit() -> lf.Fit:
        return lf.fit(task.formula, data, task.kind, **options)

    if is_refit:
        # Timed is the refit from another response's estimates to the one whose answer is known.
        original = fit()
        y, noise = original.model.design.y, np.random.default_rng(0).normal(size=original.nobs)
        other = original.refit(original.fitted().to_numpy() + original.sigma * noise)

        def fit() -> lf.Fit:
            return other.refit(y)

    if is_bootstrap:
        drawn_from = fit()

        def fit() -> lf.Fit:
            refits = bootstrap(drawn_from, NUM_REFITS)
            assert len(refits.values) == NUM_REFITS
            return drawn_from

    if is_validation:
        scored = fit()

        def fit() -> lf.Fit:
            scores = scored.cross_validate(by=task.factors[0])
            assert len(scores.log_densities) == scored.nobs
            return scored

    def answer(found: lf.Fit) -> tuple[float, dict[str, float], float]:
        sds = {}
        for term, covariance in zip(
            found.model.design.terms, found.params.covariances, strict=True
        ):
            for column, variance in zip(term.columns, covariance.diagonal(), strict=True):
                written = "(Intercept)" if column == "Intercept" else column
                name = term.name if len(term.columns) == 1 else f"{term.name}:{written}"
                sds[name] = float(variance) ** 0.5
        error = float((found.param_mc_error / found.param_stderr).max())
        return float(found.loglik), sds, error

    run(task, lf.__version__, fit, answer)


if __name__ == "__main__":
    main(read_task())
