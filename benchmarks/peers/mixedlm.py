"""mixedlm, of the Python package index."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

from common import Task, read_data, read_task, run

sys.path.pop(0)
sys.modules.pop("mixedlm", None)

import mixedlm  # noqa: E402


def main(task: Task) -> None:
    data = read_data(task)
    if task.kind == "bernoulli":
        response = task.formula.split("~")[0].strip()
        data[response] = data[response].isin(["Y", "1", 1]).astype(float)

    def fit() -> Any:
        if task.kind == "gaussian":
            return mixedlm.lmer(task.formula, data, REML=False)
        family = {"bernoulli": "Binomial", "poisson": "Poisson"}[task.kind]
        return mixedlm.glmer(task.formula, data, family=getattr(mixedlm.families, family)())

    def answer(found: Any) -> tuple[float, dict[str, float]]:
        sds = {}
        for name, group in found.VarCorr().groups.items():
            for column, sd in group.stddev.items():
                sds[name if len(group.stddev) == 1 else f"{name}:{column}"] = float(sd)
        return float(found.logLik().value), sds

    run(task, version("mixedlm"), fit, answer)


if __name__ == "__main__":
    main(read_task())
