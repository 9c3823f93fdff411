"""GPBoost, of the Python package index: random intercepts, numeric predictors."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from common import Task, read_data, read_task, run

sys.path.pop(0)
sys.modules.pop("gpboost", None)

import gpboost  # noqa: E402
import numpy as np  # noqa: E402

LIKELIHOODS = {"gaussian": "gaussian", "bernoulli": "bernoulli_logit"}


def main(task: Task) -> None:
    data = read_data(task)
    X = np.column_stack([np.ones(len(data)), data["service"]])
    y = data[task.formula.split("~")[0].strip()].to_numpy(float)

    def fit() -> Any:
        model = gpboost.GPModel(group_data=data[task.factors], likelihood=LIKELIHOODS[task.kind])
        model.fit(y=y, X=X)
        return model

    def answer(model: Any) -> tuple[float, dict[str, float]]:
        variances = model.get_cov_pars(format_pandas=True).iloc[0]
        sds = {name: float(variances[name]) ** 0.5 for name in task.factors}
        return -float(model.get_current_neg_log_likelihood()), sds

    run(task, version("gpboost"), fit, answer)


if __name__ == "__main__":
    main(read_task())
