"""The same model written otherwise: likelihood, fitted values and variances stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import lmeformula as lf
from truth.held import SAME_LOGLIK, Finding, Held, fitted, largest, placed
from truth.matrices import is_number
from truth.spec import Random, Spec

ODD_NAMES = ("u v", "é", "1", "o'b", "NA.", "x,y", "(b)", "T.u", "$m$", "ß")


class Recoding(NamedTuple):
    """One way of writing a model again.

    Attributes:
      name: what was changed.
      data, spec, options: what is fitted instead.
      rows: (n,) the place in the case's data of each row, -1 of what is not there.
      unit, shift: response here = unit * response there + shift.
      same_random: whether standard deviations, correlations and sigma are the same, in the unit and order.
      same_fixed: whether the fixed effects are the same.
    """

    name: str
    data: Any
    spec: Spec
    options: Mapping[str, Any]
    rows: np.ndarray
    unit: float = 1.0
    shift: float = 0.0
    same_random: bool = True
    same_fixed: bool = False


def recodings(held: Held, number: int = 2) -> Iterator[Finding]:
    """Hold the fit to `number` recodings, drawn among those that apply."""
    order = held.rng.permutation(len(RECODINGS))
    done = 0
    for i in order:
        found = RECODINGS[i](held)
        if found is None:
            continue
        yield from compared(held, found)
        done += 1
        if done == number:
            return


def compared(held: Held, made: Recoding) -> Iterator[Finding]:
    """Fit a recoding and compare."""
    fit, name = held.fit, f"recoded: {made.name}"
    try:
        other = fitted(made.data, made.spec, **made.options)
    except lf.LmeFormulaError as error:
        yield Finding(name, np.inf, f"refused: {str(error).splitlines()[0]}")
        return
    if not (fit.converged and other.converged):
        if fit.outcome is not other.outcome:
            words = f"{fit.outcome.name} ({fit.loglik.value:.6f}), recoded {other.outcome.name}"
            yield Finding(f"{name}, outcome", np.inf, words)
        return
    right = fit.loglik.value + _jacobian(held, other, made)
    size = abs(other.loglik.value - right) / SAME_LOGLIK
    yield Finding(name, size, f"log-likelihood {right:.7f}, recoded {other.loglik.value:.7f}")
    if size > 1.0:
        return
    unit = abs(made.unit)
    means = made.unit * np.where(made.rows < 0, np.nan, held.means[made.rows]) + made.shift
    finite = np.isfinite(means)
    off = np.abs(placed(other, len(made.rows)) - means)[finite]
    scale = 1e-2 * unit * held.spread + 1e-9 * largest(means[finite])
    if fit.model.family.link != "identity":
        # Behind a link a mean is as good as its predictor, of which this is far less than is told apart.
        share = 1e-5 + 1e-4 * _errors_of_predictors(held)[made.rows]
        scale = scale + (share * np.abs(means))[finite]
    yield Finding(
        f"{name}, means", largest(off / scale), f"fitted values differ by {largest(off):.3g}"
    )
    p, q = held.num_fixed, other.model.design.X.shape[1]
    if made.same_fixed and p == q:
        off = np.abs(np.asarray(other.fixef) / made.unit - np.asarray(fit.fixef))
        yield Finding(
            f"{name}, fixed effects",
            largest(off / (0.02 * np.asarray(fit.stderr))),
            f"{np.asarray(fit.fixef)}, recoded {np.asarray(other.fixef)}",
        )
    errors = fit.param_stderr[p:]
    if made.same_random and len(fit.param_values) - p == len(other.param_values) - q:
        units = np.array([unit if _is_size(n) else 1.0 for n in fit.param_names[p:]])
        mine, others = fit.param_values[p:], other.param_values[q:] / units
        known = np.isfinite(errors) & (errors > 0) & np.isfinite(other.param_stderr[q:])
        # What the data hardly tell has an error that the smallest rounding moves.
        known &= errors < 5.0 * np.maximum(np.abs(mine), 0.2)
        if held.spec.family.startswith("cumulative") and not made.same_fixed:
            known[held.theta_size :] = (
                False  # thresholds stand for the intercept, which a coding moves
            )
        off = largest((mine - others)[known] / (0.02 * errors[known]))
        yield Finding(f"{name}, parameters", off, f"{mine}, recoded {others}")
        ratio = (other.param_stderr[q:] / units / errors - 1.0)[known]
        yield Finding(
            f"{name}, errors",
            largest(ratio) / 0.03,
            f"{errors}, recoded {other.param_stderr[q:] / units}",
        )


def _errors_of_predictors(held: Held) -> np.ndarray:
    """(rows of the data,) standard errors of x'beta by place, zero where there is none."""
    found, X = np.zeros(len(held.data)), held.fit.model.design.X
    variances = np.einsum("ij,jk,ik->i", X, held.fit.fixed_vcov, X)
    found[held.fit.model.design.rows] = np.sqrt(np.maximum(np.nan_to_num(variances), 0.0))
    return found


def _is_size(name: str) -> bool:
    return name.startswith(("sd(", "sigma"))


def _jacobian(held: Held, other: lf.Fit, made: Recoding) -> float:
    """What the density's unit, and for REML that of the columns, adds to the log-likelihood."""
    fit = held.fit
    freedom = fit.nobs
    added = 0.0
    if held.spec.reml:
        freedom -= held.num_fixed
        # |X'V^-1 X| of other columns with the same span is another number.
        added = 0.5 * (_log_det(fit.model.design.X) - _log_det(other.model.design.X))
    return added - freedom * float(np.log(abs(made.unit)))


def _log_det(X: np.ndarray) -> float:
    if not X.shape[1]:
        return 0.0
    return 2.0 * float(np.log(np.abs(np.diag(np.linalg.qr(X, mode="r")))).sum())


# ---- the ways, each None where it does not apply -------------------------------------------------


def _same(held: Held, name: str, **changes: Any) -> Recoding:
    start = Recoding(name, held.data, held.spec, {}, np.arange(len(held.data)))
    return start._replace(**changes)


def permuted(held: Held) -> Recoding:
    rows = held.rng.permutation(len(held.data))
    return _same(
        held, "rows permuted", data=held.data.iloc[rows], rows=rows, same_fixed=_codes_stay(held)
    )


def _codes_stay(held: Held) -> bool:
    """Levels are sorted, so that the order of rows does not tell which one is the reference."""
    return True


def groups_renamed(held: Held) -> Recoding:
    data = held.data.copy()
    for name in {name for term in held.spec.random for name in term.group.split(":")}:
        codes, levels = pd.factorize(data[name])
        labels = np.array(
            [f"{ODD_NAMES[i % 10]}{i}" for i in held.rng.permutation(len(levels))], object
        )
        values = np.append(labels, [None])[codes]
        data[name] = pd.Categorical(values) if held.rng.uniform() < 0.5 else values
    return _same(held, "groups renamed", data=data, same_fixed=True)


def ids_otherwise(held: Held) -> Recoding:
    data = held.data.copy()
    for name in ("g", "h"):
        codes, levels = pd.factorize(data[name], sort=True)
        kind = int(held.rng.integers(4))
        ids = [
            10**15 + np.arange(len(levels)),
            np.arange(len(levels)) + 0.5,
            np.arange(len(levels)) - 3,
        ][kind % 3]
        values = pd.Series(ids).astype(object)
        column = pd.Series(
            [None if code < 0 else values[code] for code in codes], index=data.index, dtype=object
        )
        if not column.isna().any():
            column = column.infer_objects()
        elif kind % 3 != 1:
            column = column.astype("Int64")
        else:
            column = column.astype(float)
        data[name] = column.astype("category") if kind == 3 else column
    return _same(held, "ids as numbers", data=data, same_fixed=True)


def levels_renamed(held: Held) -> Recoding | None:
    factors = _factors(held)
    if not factors or any(term.kind not in ("us", "||") for term in held.spec.random):
        return None
    data = held.data.copy()
    for name in factors:
        text = data[name].astype(object).to_numpy()
        levels = sorted(str(level) for level in data[name].dropna().unique())
        new = dict(zip(levels, held.rng.permutation(ODD_NAMES)[: len(levels)], strict=True))
        data[name] = np.array([new.get(value) for value in text], object)
    return _same(held, "levels renamed", data=data, same_random=not _random_factors(held))


def contrasts(held: Held) -> Recoding | None:
    factors = _factors(held)
    if not factors or any(term.kind not in ("us", "||") for term in held.spec.random):
        return None
    kinds = {name: str(held.rng.choice(["sum", "helmert", "poly"])) for name in factors}
    return _same(
        held, "contrasts", options={"contrasts": kinds}, same_random=not _random_factors(held)
    )


def cells(held: Held) -> Recoding | None:
    """a*b as 0 + a:b, and x*a as 0 + a + a:x."""
    spec = held.spec
    if not spec.intercept:
        return None
    if set(spec.fixed) == {"a", "b", "a:b"}:
        return _same(held, "cells", spec=spec.but(fixed=("a:b",), intercept=False))
    if set(spec.fixed) == {"x", "a", "a:x"}:
        return _same(held, "cells", spec=spec.but(fixed=("a", "a:x"), intercept=False))
    if spec.fixed == ("a",):
        return _same(held, "cells", spec=spec.but(intercept=False))
    return None


def bars(held: Held) -> Recoding | None:
    """(x || g) as diag(x | g), or as two terms."""
    spec, turn = held.spec, held.rng.uniform()
    changed: list[Random] = []
    for term in spec.random:
        if term.kind == "||":
            changed += (
                [Random(term.intercept, term.columns, term.group, "diag")]
                if turn < 0.5
                else term.parts()
            )
        elif term.kind == "diag" and all(is_number(held.data[name]) for name in term.columns):
            changed.append(Random(term.intercept, term.columns, term.group, "||"))
        else:
            changed.append(term)
    if tuple(changed) == spec.random or len(set(changed)) < len(changed):
        return None
    return _same(held, "double bar", spec=spec.but(random=tuple(changed)), same_fixed=True)


def reordered(held: Held) -> Recoding:
    spec = held.spec
    fixed = tuple(reversed(spec.fixed))
    random = tuple(reversed(spec.random))
    return _same(
        held, "terms reordered", spec=spec.but(fixed=fixed, random=random),
        same_random=len(random) == 1,
    )  # fmt: skip


def scaled(held: Held) -> Recoding | None:
    """Columns in other units."""
    data = held.data.copy()
    for name in ("x", "z", "v"):
        if name in held.spec.variables:
            data[name] = data[name] * float(held.rng.choice([1e-3, 10.0, -1.0, 0.37]))
    slopes = any(is_number(held.data[name]) for term in held.spec.random for name in term.columns)
    if any(term.kind in ("homdiag", "homcs", "ar1", "cs") for term in held.spec.random) and slopes:
        return None
    return _same(held, "columns scaled", data=data, same_random=not slopes)


def shifted(held: Held) -> Recoding | None:
    """x + c for x, where the formula has whatever that moves it along."""
    spec, number = held.spec, is_number
    with_x = [term for term in spec.random if "x" in term.columns]
    fixed_ok = spec.fixed in (
        (),
        ("x",),
        ("x", "a"),
        ("x", "z"),
        ("x", "a", "a:x"),
        ("a", "a:x"),
        ("x", "z", "v"),
    )
    if not spec.intercept or not fixed_ok or "x" not in spec.variables:
        return None
    if any(not (term.intercept and term.kind == "us") for term in with_x):
        return None
    if "x" not in " ".join(spec.fixed) and with_x:
        return None  # (x | g) alone moves an intercept that is there, but keeps the mean of the slopes at zero
    assert number(held.data["x"])
    data = held.data.assign(x=held.data["x"] + 2.0 * float(held.data["x"].std()))
    return _same(held, "column shifted", data=data, same_random=not with_x)


def response_scaled(held: Held) -> Recoding | None:
    spec = held.spec
    if spec.family != "gaussian" or spec.sigma is not None:
        return None
    unit = float(held.rng.choice([1e-6, 1e6, -1.0, 7.0]))
    data = held.data.assign(y=unit * held.data["y"], o=unit * held.data["o"])
    return _same(held, "response scaled", data=data, unit=unit, same_fixed=True)


def response_shifted(held: Held) -> Recoding | None:
    spec = held.spec
    if spec.family != "gaussian" or not spec.intercept:
        return None
    shift = 100.0 * float(held.data["y"].std())
    return _same(
        held, "response shifted", data=held.data.assign(y=held.data["y"] + shift), shift=shift
    )


def weights_given(held: Held) -> Recoding | None:
    """Weights as an array, or of one where there are none."""
    if held.spec.weights:
        return _same(
            held, "weights as an array", spec=held.spec.but(weights=False),
            options={"weights": held.data["w"].to_numpy()}, same_fixed=True,
        )  # fmt: skip
    if held.spec.family != "gaussian":
        return None
    return _same(
        held, "weights of one", options={"weights": np.ones(len(held.data))}, same_fixed=True
    )


def weights_scaled(held: Held) -> Recoding | None:
    if not held.spec.weights or held.spec.sigma is not None:
        return None
    data = held.data.assign(w=100.0 * held.data["w"])
    return _same(held, "weights scaled", data=data, same_fixed=True, same_random=False)


def offset_given(held: Held) -> Recoding | None:
    """The offset as an argument, by name or as an array, or taken off the response."""
    if not held.spec.offset:
        return None
    spec, turn = held.spec.but(offset=False), held.rng.uniform()
    if turn < 0.4:
        return _same(
            held, "offset as an argument", spec=spec, options={"offset": "o"}, same_fixed=True
        )
    return _same(
        held,
        "offset as an array",
        spec=spec,
        options={"offset": held.data["o"].to_numpy()},
        same_fixed=True,
    )


def gaps_gone(held: Held) -> Recoding | None:
    """The rows with gaps left out by hand; or such rows added."""
    kept = held.fit.model.design.rows
    if len(kept) < len(held.data):
        return _same(held, "complete rows", data=held.data.iloc[kept], rows=kept, same_fixed=True)
    more = held.data.iloc[:3].assign(x=np.nan)
    if "x" not in held.spec.variables:
        return None
    rows = np.append(np.arange(len(held.data)), [-1, -1, -1])
    data = pd.concat([held.data, more], ignore_index=True)
    return _same(held, "rows with gaps", data=data, rows=rows, same_fixed=True)


def copied(held: Held) -> Recoding | None:
    """A copy of a column, and a sum of columns, are left out by name."""
    if "x" not in held.spec.fixed or not held.spec.intercept:
        return None
    data = held.data.assign(x2=3.0 - 2.0 * held.data["x"])
    return _same(
        held, "a copy of a column", data=data, spec=held.spec.but(fixed=(*held.spec.fixed, "x2"))
    )


def as_dictionary(held: Held) -> Recoding:
    data = {name: held.data[name].array for name in held.data}
    return _same(held, "dictionary", data=data, same_fixed=True)


def unused_level(held: Held) -> Recoding | None:
    factors = [
        name for name in _factors(held) if isinstance(held.data[name].dtype, pd.CategoricalDtype)
    ]
    if not factors:
        return None
    data = held.data.copy()
    for name in factors:
        data[name] = data[name].cat.add_categories(["nobody"])
    return _same(held, "a level without rows", data=data, same_fixed=True)


def _factors(held: Held) -> list[str]:
    return [name for name in ("a", "b") if name in held.spec.variables]


def _random_factors(held: Held) -> bool:
    return any(not is_number(held.data[name]) for term in held.spec.random for name in term.columns)


RECODINGS: tuple[Callable[[Held], Recoding | None], ...] = (
    permuted, groups_renamed, ids_otherwise, levels_renamed, contrasts, cells, bars, reordered, scaled,
    shifted, response_scaled, response_shifted, weights_given, weights_scaled, offset_given, gaps_gone,
    copied, as_dictionary, unused_level,
)  # fmt: skip
