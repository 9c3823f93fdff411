"""glmm, of the Python package index."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from common import Task, read_data, read_task, run

sys.path.pop(0)
sys.modules.pop("glmm", None)

import glmm  # noqa: E402

FAMILIES = {"gaussian": "gaussian", "bernoulli": "binomial", "poisson": "poisson"}


def main(task: Task) -> None:
    data = read_data(task)
    family = FAMILIES[task.kind]
    if task.kind == "bernoulli":
        response = task.formula.split("~")[0].strip()
        data[response] = data[response].isin(["Y", "1", 1]).astype(float)
    options = {"reml": False, "satterthwaite": False} if family == "gaussian" else {}

    def answer(found: Any) -> tuple[float, dict[str, float]]:
        sds = {}
        for (group, columns), block in zip(found.re_groups, found.varcorr, strict=True):
            k = len(columns)
            for a, column in enumerate(columns):
                # A block is its lower triangle by columns.
                variance = block[a * k - a * (a - 1) // 2]
                sds[group if k == 1 else f"{group}:{column}"] = float(variance) ** 0.5
        return float(found.loglik), sds

    run(task, version("glmm"), lambda: glmm.fit(data, task.formula, family, **options), answer)


if __name__ == "__main__":
    main(read_task())
