"""A failing case made small: fewer terms, fewer rows, as long as the same property fails."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from truth.judge import judge
from truth.matrices import complete, responses
from truth.spec import Case, Random


def shrink(case: Case, property_name: str, seconds: float = 20.0) -> Case:
    """The smallest case found in that time on which the property still fails.

    Args:
      case: on which it fails.
      property_name: the name of the finding.
      seconds: to try for.
    """
    end = time.monotonic() + seconds

    def fails(tried: Case) -> bool:
        if time.monotonic() > end:
            return False
        return any(finding.fails for finding in judge(tried, property_name).findings)

    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for simpler in _simpler(case):
            if fails(simpler):
                case, changed = simpler, True
                break
    return case


def _simpler(case: Case) -> Iterator[Case]:
    spec, data = case.spec, case.data
    for i in range(len(spec.random)):
        if len(spec.random) > 1:
            yield case._replace(spec=spec.but(random=spec.random[:i] + spec.random[i + 1 :]))
        term = spec.random[i]
        if term.columns:
            plain = Random(True, (), term.group)
            yield case._replace(
                spec=spec.but(random=(*spec.random[:i], plain, *spec.random[i + 1 :]))
            )
    for i in reversed(range(len(spec.fixed))):
        yield case._replace(spec=spec.but(fixed=spec.fixed[:i] + spec.fixed[i + 1 :]))
    if spec.offset:
        yield case._replace(spec=spec.but(offset=False))
    if spec.weights:
        yield case._replace(spec=spec.but(weights=False))
    if spec.reml:
        yield case._replace(spec=spec.but(reml=False))
    whole = complete(data, spec)
    if len(whole) < len(data):
        yield case._replace(data=whole.reset_index(drop=True))
    for share in (0.5, 0.25, 0.1):
        size = max(1, int(share * len(data)))
        for start in range(0, len(data), size):
            if len(data) - size >= 4:
                kept = np.r_[0:start, min(start + size, len(data)) : len(data)]
                yield case._replace(data=data.iloc[kept].reset_index(drop=True))
    for digits in (1, 2, 4):
        rounded = data.round(digits)
        if not rounded.equals(data) and _same_columns(rounded, data):
            yield case._replace(data=rounded)


def _same_columns(rounded: pd.DataFrame, data: pd.DataFrame) -> bool:
    return all(rounded[name].nunique() > 0.5 * data[name].nunique() for name in data)


def written(case: Case) -> str:
    """The case as lines of Python."""
    used = [*responses(case.spec), *case.spec.variables]
    lines = ["import lmeformula as lf, numpy as np, pandas as pd", "data = pd.DataFrame({"]
    for name in used:
        values = case.data[name]
        text = ", ".join("None" if pd.isna(value) else repr(_plain(value)) for value in values)
        if isinstance(values.dtype, pd.CategoricalDtype):
            levels = [_plain(level) for level in values.cat.categories]
            lines.append(
                f'    "{name}": pd.Categorical([{text}], {levels}, ordered={values.cat.ordered}),'
            )
        else:
            lines.append(f'    "{name}": [{text}],')
    return "\n".join([*lines, "})", f"fit = {case.call}"])


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
