"""A saved and loaded fit says and predicts the same, on a machine that never saw the data."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmeformula as lf
from lmeformula.design.design import TermBlock
from lmeformula.design.functions import FUNCTIONS
from lmeformula.design.given import Given
from lmeformula.design.recipe import Recipe
from lmeformula.errors import ModelError, SavedFitError
from lmeformula.face import Fit
from lmeformula.fit import Information
from lmeformula.formula.smooths import FUNCTIONS as SMOOTHS
from lmeformula.model.compile import Model
from lmeformula.store import fields, recipe
from lmeformula.store.containers import Record, Stacked
from lmeformula.store.learned import LEARNED
from tests.examples import examples
from tests.prediction.fakes import fake_fit
from tests.store.fits import CASES, data, fitted, new_rows


def again(fit: lf.Fit, folder: Path, **options: Any) -> lf.Fit:
    load = {name: options.pop(name) for name in ("functions", "family") if name in options}
    loaded = lf.load(fit.save(folder / "fit.zip", **options), **load)
    assert loaded.model.design.given.data is None
    return loaded


def assert_same(a: Any, b: Any, where: str = "fit", *, rows: bool) -> None:
    """Compare two records field by field, arrays bit by bit."""
    assert type(a) is type(b) or isinstance(a, float) or not rows, where
    if isinstance(a, np.ndarray):
        if rows or type(b).__name__ != "AbsentRows":
            np.testing.assert_array_equal(a, b, err_msg=where)
            assert a.dtype == b.dtype or a.size == 0, where
        assert a.shape == b.shape, where
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            if field.compare or dataclasses.is_dataclass(getattr(a, field.name)):
                pair = getattr(a, field.name), getattr(b, field.name)
                assert_same(*pair, f"{where}.{field.name}", rows=rows)
    elif isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]", rows=rows)
    elif isinstance(a, Given):
        # What is there in one of them alone: the data, where they are from, and sums that were saved.
        one, other = (each._replace(data=None, origin="", sums=None) for each in (a, b))
        labels = [[] if each.labels is None else list(each.labels) for each in (one, other)]
        assert labels[0] == labels[1], where
        one, other = (each._replace(labels=None) for each in (one, other))
        assert_same(tuple(one), tuple(other), where, rows=rows)
    elif isinstance(a, tuple | list):
        assert len(a) == len(b), where
        for i, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}[{i}]", rows=rows)
    elif callable(a) and not isinstance(a, type):
        assert callable(b), where
    elif isinstance(a, float):
        assert a == b or (np.isnan(a) and np.isnan(b)), where
    elif type(a).__module__ == "lmeformula.family.own":
        assert type(a) is type(b), where
    else:
        assert a == b, where


def assert_says_the_same(fit: lf.Fit, loaded: lf.Fit) -> None:
    assert repr(loaded) == repr(fit)
    # Degrees of freedom need the rows.
    for ddf in (None, "none"):
        assert loaded.summary(ddf=ddf).to_text() == fit.summary(ddf=ddf).to_text()
        pd.testing.assert_frame_equal(loaded.tidy(ddf=ddf), fit.tidy(ddf=ddf), check_exact=True)
    pd.testing.assert_frame_equal(loaded.glance(), fit.glance(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.ranef(), fit.ranef(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.trace, fit.trace, check_exact=True)
    pd.testing.assert_series_equal(loaded.fixef, fit.fixef, check_exact=True)
    pd.testing.assert_series_equal(loaded.mc_error, fit.mc_error, check_exact=True)
    for group, table in fit.coef().items():
        pd.testing.assert_frame_equal(loaded.coef()[group], table, check_exact=True)


@pytest.mark.parametrize("name", CASES)
def test_every_family_and_method_comes_back(name: str, tmp_path: Path) -> None:
    fit = fitted(name)
    loaded = again(fit, tmp_path)
    assert_says_the_same(fit, loaded)
    assert_same(fit, loaded, rows=False)
    for kind in ("response", "link"):
        pd.testing.assert_series_equal(
            loaded.predict(new_rows(name), kind=kind),
            fit.predict(new_rows(name), kind=kind),
            check_exact=True,
        )
    whole = again(fit, tmp_path, data=True)
    assert_same(fit, whole, rows=True)
    pd.testing.assert_series_equal(whole.fitted(), fit.fitted(), check_exact=True)


@pytest.mark.parametrize("information", get_args(Information))
def test_whatever_the_errors_are_from(information: str, tmp_path: Path) -> None:
    fit = fake_fit(information=information, param_stderr_error=None)
    assert again(fit, tmp_path).information == information


def test_a_loaded_fit_can_be_saved_again_to_the_same_bytes(tmp_path: Path) -> None:
    first = fitted("bernoulli mcem").save(tmp_path / "a.zip")
    second = lf.load(first).save(tmp_path / "b.zip")
    assert first.read_bytes() == second.read_bytes()


# ---- the recipe: many formulas, many kinds of columns


def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 96
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(5.0, 2.0, size=n),
            "z": rng.gamma(2.0, size=n),
            "n": rng.integers(1, 5, size=n),
            "w": rng.uniform(0.5, 2.0, size=n),
            "a": np.tile(["u", "v", "w"], n // 3),
            "my col": rng.normal(size=n),
            "b": rng.random(n) < 0.5,
            "size": pd.Categorical.from_codes(
                rng.integers(0, 3, size=n), ["small", "middle", "large"], ordered=True
            ),
            "g": np.repeat(np.arange(8), n // 8),
            "h": [f"h{i}" for i in np.tile(np.repeat(np.arange(4), 3), n // 12)],
        }
    )
    frame.loc[[3, 50], "x"] = np.nan
    return frame


TABLE = table()
FORMULAS = (
    "y ~ poly(my_x, 2) + (1 | g)".replace("my_x", "w"),
    "y ~ poly(w, z, degree = 2) + (1 | g)",
    "y ~ poly(w, 3, raw = TRUE) + (1 | g)",
    "y ~ bs(x, df = 5) + (1 | g)",
    "y ~ ns(z, knots = c(1, 2)) * a + (1 | g)",
    "y ~ cr(z, df = 3) + (1 | g)",
    "y ~ scale(x) + center(z) + (scale(x) | g)",
    "y ~ scale(cbind(w, z), scale = FALSE) + (1 | g)",
    "y ~ I(z - mean(z)) + I(x / sd(w)) + I(w - median(w)) + (1 | g)",
    "y ~ I(x - min(z)) + I(w^2 * max(z)) + (1 | g)",
    "y ~ factor(n) + (1 | g)",
    "y ~ as.factor(n):x + ordered(n, levels = c(4, 3, 2, 1)) + (1 | g)",
    "y ~ factor(a, levels = c('w', 'v', 'u'), labels = c('p', 'q', 'r')) + (1 | g)",
    "y ~ relevel(a, 'v') + (1 | g)",
    "y ~ C(a, contr.sum) + size + (1 | g)",
    "y ~ C(a, contr.treatment(base = 2)) * b + (1 | g)",
    "y ~ cut(x, 3) + cut(z, c(0, 1, 100), right = FALSE) + (1 | g)",
    "y ~ interaction(a, b) + dummy(size, c('middle')) + (1 | g)",
    "y ~ `my col` + log(z) + x^2 + (1 | g)",
    "y ~ x + offset(log(w)) + (1 | g)",
    "y | weights(w) ~ x + (1 | g)",
    "log(z) ~ x + (x || g) + (0 + a | h)",
    "y ~ a + (1 | g/h)",
    "y ~ 0 + a + (1 | g:h) + (1 | h)",
    "y ~ x + (1 + x | g) + (0 + w | g) + (1 | h)",
    "y ~ x + diag(1 + x | g)",
    "y ~ size + (size | h)",
    "y ~ b + (b | g)",
    "y ~ x + I(2 * x) + (1 | g)",
    "ifelse(b, y, -y) ~ is.na(x):z + (1 | g)",
    "scale(y) ~ x + (1 | g)",
)


def unfitted(design: lf.Design) -> lf.Fit:
    """A fit of this design whose numbers are drawn, not estimated: only what is stored of it matters."""
    model = lf.compile(design)
    rng = np.random.default_rng(7)
    space, design = model.space, model.design
    sizes = [(len(term.levels), len(term.columns)) for term in design.terms]
    params = lf_params(design, rng)
    p, d = len(design.names), space.size
    changes = {
        "model": model,
        "params": params,
        "param_names": space.names,
        "param_values": rng.normal(size=d),
        "param_stderr": rng.random(d),
        "param_vcov": np.eye(d),
        "param_mc_error": np.zeros(d),
        "fixed_vcov": np.eye(p),
        "modes": tuple(rng.normal(size=size) for size in sizes),
        "mode_cov": tuple(np.tile(np.eye(k), (levels, 1, 1)) for levels, k in sizes),
    }
    return dataclasses.replace(fake_fit(), **changes)


def lf_params(design: lf.Design, rng: np.random.Generator) -> Any:
    from lmeformula.model.params import Params

    covariances = tuple(np.eye(len(term.columns)) for term in design.terms)
    own = np.ones(1 if design.num_predictors == 1 else 0)
    return Params(rng.normal(size=len(design.names)), covariances, own)


def assert_rebuilds_the_same(design: lf.Design, loaded: lf.Design, newdata: Any) -> None:
    ours, theirs = (d.rebuild(newdata, response=True) for d in (design, loaded))
    assert_same(dataclasses.asdict(ours), dataclasses.asdict(theirs), rows=True)


@pytest.mark.filterwarnings("ignore::lmeformula.LmeFormulaWarning")
@pytest.mark.parametrize("formula", FORMULAS)
def test_the_recipe_of_every_kind_of_formula(formula: str, tmp_path: Path) -> None:
    design = lf.design(formula, TABLE)
    fit = unfitted(design)
    loaded = again(fit, tmp_path)
    assert_same(fit, loaded, rows=False)
    assert_same(fit, again(fit, tmp_path, data=True), rows=True)
    assert_rebuilds_the_same(design, loaded.model.design, TABLE.iloc[::7])
    pd.testing.assert_series_equal(
        loaded.predict(TABLE.iloc[5:9]), fit.predict(TABLE.iloc[5:9]), check_exact=True
    )


# Of the rows that two formulas have, none may be missing.
WHOLE = [formula for formula in FORMULAS if "is.na" not in formula]


@pytest.mark.filterwarnings("ignore::lmeformula.LmeFormulaWarning")
@pytest.mark.parametrize(("first", "second"), list(zip(WHOLE, WHOLE[7:] + WHOLE[:7], strict=True)))
def test_two_formulas_come_back_together(first: str, second: str, tmp_path: Path) -> None:
    """Whatever one has more of than the other: levels, cells, columns, terms, aliases."""
    design = lf.design({"mu": first, "sigma": f"~ {second.partition('~')[2]}"}, TABLE)
    fit = unfitted(design)
    loaded = again(fit, tmp_path)
    assert_same(fit, loaded, rows=False)
    assert_rebuilds_the_same(fit.model.design, loaded.model.design, TABLE.iloc[::7])


def test_contrasts_weights_and_offset_given_beside_the_formula(tmp_path: Path) -> None:
    codes = np.array([[1.0, 0.5], [-1.0, 0.5], [0.0, -1.0]])
    design = lf.design(
        "y ~ a * size + (1 | g)",
        TABLE,
        contrasts={"a": codes, "size": ("treatment", "large")},
        weights="w",
        offset=TABLE["z"].to_numpy(),
    )
    loaded = again(unfitted(design), tmp_path).model.design
    rows, mine = TABLE.iloc[:9], np.arange(9.0)
    for found in (design, loaded):
        assert found.rebuild(rows, offset=mine, response=True).weights is not None
    ours, theirs = (d.rebuild(rows, offset=mine) for d in (design, loaded))
    np.testing.assert_array_equal(ours.X, theirs.X)
    np.testing.assert_array_equal(theirs.offset, mine)
    with pytest.raises(lf.FormulaDataError, match="the offset as an array"):
        loaded.rebuild(rows)


def test_a_dot_keeps_its_text(tmp_path: Path) -> None:
    design = lf.design("y ~ . - g + (1 | g)", TABLE[["y", "x", "a", "g"]])
    loaded = again(unfitted(design), tmp_path).model.design
    assert loaded.formula == design.formula
    assert loaded.formula.text == design.formula.text == "y ~ . - g + (1 | g)"


PIECES = {
    "x": "numbers",
    "log(z)": "numbers",
    "scale(w)": "numbers",
    "poly(w, 2)": "matrix",
    "ns(z, df = 3)": "matrix",
    "a": "factor",
    "size": "factor",
    "b": "factor",
    "factor(n)": "factor",
    "cut(w, 4)": "factor",
}
GROUPS = ("g", "h", "g:h", "h/b")


@pytest.mark.filterwarnings("ignore::lmeformula.LmeFormulaWarning")
@settings(max_examples=examples(40))
@given(
    pieces=st.lists(st.sampled_from(sorted(PIECES)), min_size=1, max_size=3, unique=True),
    joiner=st.sampled_from([" + ", " * ", ":"]),
    slope=st.sampled_from(["1", "x", "a", "0 + b", "scale(w)", "1 + x + z"]),
    bar=st.sampled_from(["|", "||"]),
    groups=st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True),
)
def test_any_formula_comes_back(tmp_path_factory, pieces, joiner, slope, bar, groups) -> None:
    random = " + ".join(f"({slope if i == 0 else 1} {bar} {g})" for i, g in enumerate(groups))
    design = lf.design(f"y ~ {joiner.join(pieces)} + {random}", TABLE)
    if len(design.names) >= design.n:
        return
    loaded = again(unfitted(design), tmp_path_factory.mktemp("any"))
    assert_rebuilds_the_same(design, loaded.model.design, TABLE.iloc[::11])


# ---- what a file cannot hold


def test_functions_of_the_caller_are_given_again(tmp_path: Path) -> None:
    functions = {"double": lambda v: 2.0 * v, "half": lambda v: v / 2.0, "idle": abs}
    design = lf.design("y ~ double(w) + half(z) + (1 | g)", TABLE, functions=functions)
    path = unfitted(design).save(tmp_path / "fit.zip")
    with pytest.raises(SavedFitError, match=r"cannot hold: double, half\n.*\"half\": \.\.\."):
        lf.load(path)
    with pytest.raises(SavedFitError, match="cannot hold: half"):
        lf.load(path, functions={"double": functions["double"]})
    with pytest.raises(SavedFitError, match="cannot hold: half"):
        lf.load(path, functions={**functions, "half": 0.5})
    loaded = lf.load(path, functions=functions)
    assert_rebuilds_the_same(design, loaded.model.design, TABLE.iloc[:5])


def test_a_family_of_the_caller_is_given_again(tmp_path: Path) -> None:
    ordinary = fitted("poisson")
    own = ordinary.model.family._replace(mean=lambda eta, own: np.exp(eta))
    model = dataclasses.replace(ordinary.model, family=own)
    path = dataclasses.replace(ordinary, model=model).save(tmp_path / "fit.zip")
    with pytest.raises(
        SavedFitError, match=r"(?s)the family poisson\(log\).*lf\.load\(path, family"
    ):
        lf.load(path)
    with pytest.raises(SavedFitError, match="one of your own"):
        lf.load(path, family=fitted("gamma").model.family)
    assert lf.load(path, family=own).model.family is own


@pytest.mark.parametrize(
    "use",
    [
        lambda fit: fit.residuals(),
        lambda fit: fit.fitted(),
        lambda fit: fit.predict(),
        lambda fit: fit.model.design.X @ np.ones(2),
        lambda fit: 1.0 - fit.model.design.y,
        lambda fit: list(fit.model.design.rows),
        lambda fit: fit.model.design.X.mean(axis=0),
        lambda fit: np.einsum("nk->k", fit.model.design.X),
        lambda fit: np.asarray(fit.model.design.terms[0].index),
        lambda fit: fit.model.start,
        lambda fit: lf.estimate(fit.model, method="exact"),
    ],
)
def test_what_needs_the_rows_says_so(use: Any, tmp_path: Path) -> None:
    loaded = again(fitted("exact"), tmp_path)
    with pytest.raises(ModelError, match=r"without the rows.*\n.*data=True"):
        use(loaded)


def test_rows_that_are_not_there_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="without the rows"):
        again(again(fitted("exact"), tmp_path), tmp_path, data=True)


def test_with_its_rows_a_fit_can_be_made_again(tmp_path: Path) -> None:
    fit = fitted("exact")
    loaded = again(fit, tmp_path, data=True)
    assert lf.estimate(loaded.model, method="exact").loglik == fit.loglik
    pd.testing.assert_series_equal(loaded.residuals(), fit.residuals(), check_exact=True)


def test_in_a_process_that_never_saw_the_data(tmp_path: Path) -> None:
    fit = fitted("exact")
    path = fit.save(tmp_path / "fit.zip")
    new_rows("exact").to_csv(tmp_path / "new.csv", index=False)
    code = (
        "import sys, pandas as pd, lmeformula as lf\n"
        f"fit = lf.load({str(path)!r})\n"
        f"new = pd.read_csv({str(tmp_path / 'new.csv')!r}, dtype={{'Subject': str}})\n"
        "print(fit.predict(new).tolist())\n"
        "assert 'tensorflow' not in sys.modules and 'pickle' not in str(fit)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(fit.predict(new_rows("exact")).tolist())


# ---- nothing is forgotten


def records() -> list[tuple[Any, set[str]]]:
    """Every record that is stored, with the names that its table has."""
    formula = lf.parse("y ~ x + (1 | g)")
    found: list[tuple[Any, set[str]]] = []

    def visit(codec: Any) -> None:
        if isinstance(codec, Record):
            found.append((codec.make, {codec.renamed.get(name, name) for name in codec.fields}))
            for part in codec.fields.values():
                visit(part)
        elif hasattr(codec, "inner"):
            visit(codec.inner)
        elif isinstance(codec, Stacked):
            found.append((codec.make, set(codec.fields)))

    for codec in (*fields.FIT.values(), fields.design_codec(formula, {}), fields.RESPONSE):
        visit(codec)
    visit(fields.OWN)
    visit(recipe.GROUPING)
    visit(recipe.CODING)
    return found


def names_of(kind: Any) -> set[str]:
    if dataclasses.is_dataclass(kind):
        return {field.name for field in dataclasses.fields(kind)}
    return set(kind._fields)


def test_every_field_of_every_record_is_stored() -> None:
    kinds = {make for make, _ in records()}
    assert {Recipe, fields.of_one} <= kinds
    # Designs of several predictors are stored one by one, and put together again.
    # And terms are those of groups, whose role is the default one.
    # A design with curves as columns is made again of the one that is stored.
    put_together = {TermBlock: {"predictors", "role"}, Recipe: {"penalised"}}
    for make, names in records():
        if make is fields.of_one:
            kept = (names - {"offset"}) | {"offsets", "side_by_side", "given"}
            # Rows are stored only where they are in memory; what workers have is theirs.
            assert kept | {"shards"} == names_of(lf.Design)
            continue
        assert names | put_together.get(make, set()) == names_of(make), make
    assert names_of(Fit) == {*fields.FIT, "model"}, "give the new field a line in store/fields.py"
    # The estimates that a fit's model has are the fit's, which gives them to it; where it started is over.
    assert names_of(Model) - {"estimates", "known_start"} == {
        *("design", "family", "space", "dtype", "priors"),
    }
    # Of the space the first two follow from the design, and the last one from the sigma that is held.
    space = {"fixed_names", "terms", "own", "has_no_residual"}
    assert names_of(type(fitted("exact").model.space)) == space
    stored = {"codes", *recipe.FACTOR.fields}
    assert stored == names_of(lf_values("Categories"))
    # What numbers are as a factor is for columns of data alone.
    assert names_of(lf_values("Numbers")) == {"values", "columns", "exactly"}
    assert names_of(lf_values("Logicals")) == {"values"}


def lf_values(name: str) -> Any:
    from lmeformula.design import values

    return getattr(values, name)


def test_every_stateful_function_is_stored() -> None:
    assert set(LEARNED) == {*SMOOTHS, *(name for name, f in FUNCTIONS.items() if f.is_stateful)}


@pytest.mark.parametrize("kind", ["ordered", "text", "numbers"])
def test_probabilities_of_categories_without_rows(kind: str, tmp_path: Path) -> None:
    frame = data().assign(codes=data()["rating"].cat.codes + 1)
    frame["codes"] = frame["codes"].astype(str) if kind == "text" else frame["codes"].astype(int)
    response = "rating" if kind == "ordered" else "codes"
    fit = lf.fit(f"{response} ~ x + (1 | g)", frame, family="cumulative", method="laplace")
    pd.testing.assert_frame_equal(
        again(fit, tmp_path).predict(new_rows("cumulative"), kind="prob"),
        fit.predict(new_rows("cumulative"), kind="prob"),
        check_exact=True,
    )


def by_data(fit: lf.Fit, folder: Path, rows: Any, **options: Any) -> lf.Fit:
    return lf.load(fit.save(folder / "fit.zip"), data=rows, **options)


@pytest.mark.parametrize("name", CASES)
def test_rows_are_taken_again_from_the_data(name: str, tmp_path: Path) -> None:
    fit = fitted(name)
    rows = lf.datasets.load("sleepstudy") if "Reaction" in CASES[name].formula else data()
    assert_same(fit.model.design, by_data(fit, tmp_path, rows).model.design, rows=True)
    path = tmp_path / "rows.parquet"
    rows.to_parquet(path)
    assert_same(fit.model.design, by_data(fit, tmp_path, path).model.design, rows=True)


def test_arrays_are_given_again_with_the_data(tmp_path: Path) -> None:
    r = np.random.default_rng(3)
    rows = pd.DataFrame({"y": r.normal(size=60), "x": r.normal(size=60), "g": np.arange(60) % 7})
    rows.loc[[3, 8], "x"] = np.nan
    rows.index = [f"r{i}" for i in range(60)]
    given = {
        "weights": r.uniform(0.5, 2.0, 60),
        "offset": r.normal(size=60),
        "frequency": r.integers(0, 4, 60),
    }
    fit = lf.fit("y ~ scale(x) + (1 + x | g)", rows, **given)
    loaded = by_data(fit, tmp_path, rows, **given)
    assert_same(fit.model.design, loaded.model.design, rows=True)
    pd.testing.assert_series_equal(fit.residuals("pearson"), loaded.residuals("pearson"))
    for name in given:
        with pytest.raises(lf.FormulaDataError, match=f"was given the {name} as an array"):
            by_data(fit, tmp_path, rows, **{key: given[key] for key in given if key != name})
    with pytest.raises(lf.FormulaDataError, match="and other values"):
        by_data(fit, tmp_path, rows, **given | {"weights": given["weights"][::-1].copy()})
    with pytest.raises(ModelError, match="weights without data"):
        by_data(fit, tmp_path, None, weights=given["weights"])


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_sums_are_compared_in_the_unit_of_the_data(unit: float, tmp_path: Path) -> None:
    r = np.random.default_rng(4)
    y = r.normal(size=60) * unit
    # A sum of next to nothing, of which rounding in another order leaves more.
    rows = pd.DataFrame({"y": y - y.mean(), "x": r.normal(size=60), "g": np.arange(60) % 6})
    fit = lf.fit("y ~ x + (1 | g)", rows)
    shuffled = by_data(fit, tmp_path, rows.sample(frac=1.0, random_state=1))
    assert shuffled.model.design.n == 60
    with pytest.raises(lf.FormulaDataError, match="and other values"):
        by_data(fit, tmp_path, rows.assign(y=rows["y"].to_numpy()[::-1]))


def test_other_data_are_refused(tmp_path: Path) -> None:
    rows = lf.datasets.load("sleepstudy")
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", rows)
    refused = {
        "180 rows, 179 of them complete": rows.assign(Days=rows["Days"].where(rows.index != 4)),
        "90 rows, 90 of them complete": rows.iloc[:90],
        "1 levels of Subject that the fit has not seen": rows.assign(
            Subject=rows["Subject"].astype(str).where(rows.index != 4, "new")
        ),
        "other values": rows.assign(Reaction=rows["Reaction"].to_numpy()[::-1]),
        "as many rows, and other values": rows.assign(
            Subject=rows["Subject"].to_numpy()[np.r_[10:20, 0:10, 20:180]]
        ),
        "which is not a column": rows.drop(columns="Days"),
    }
    for problem, other in refused.items():
        with pytest.raises(lf.FormulaDataError, match=problem):
            by_data(fit, tmp_path, other)
    # The rows of a fit have no order.
    shuffled = rows.sample(frac=1.0, random_state=1)
    loaded = by_data(fit, tmp_path, shuffled)
    np.testing.assert_allclose(loaded.residuals()[rows.index], fit.residuals())
    # Without rows it is saved again with what tells them from others.
    twice = lf.load(lf.load(fit.save(tmp_path / "a.fit")).save(tmp_path / "b.fit"), data=rows)
    assert_same(fit.model.design, twice.model.design, rows=True)


def test_fits_of_earlier_versions_have_no_sums(tmp_path: Path) -> None:
    import json
    import zipfile

    rows = lf.datasets.load("sleepstudy")
    fit = lf.fit("Reaction ~ Days + (Days | Subject)", rows)
    new, old = fit.save(tmp_path / "new.fit"), tmp_path / "old.fit"
    with zipfile.ZipFile(new) as source, zipfile.ZipFile(old, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "fit.json":
                header = json.loads(content)
                del header["model"]["sums"]
                header["fit"]["loglik"].pop("probes", None)
                content = json.dumps(header).encode()
            if "sums" not in name:
                target.writestr(name, content)
    assert lf.load(old, data=rows).residuals().equals(fit.residuals())


def test_merged_rows_are_merged_again(tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    rows = pd.DataFrame({name: r.integers(0, 2, 400) for name in ("x", "y")})
    rows["g"], path = r.integers(0, 6, 400), tmp_path / "rows.parquet"
    rows.to_parquet(path)
    fit = lf.fit("y ~ x + (1 | g)", path, "bernoulli", method="laplace", merge=True)
    loaded = by_data(fit, tmp_path, path, merge=True)
    assert loaded.model.design.n < loaded.nobs == 400
    np.testing.assert_array_equal(loaded.residuals(), fit.residuals())
    with pytest.raises(lf.FormulaDataError, match="or merge=True, where its rows were merged"):
        by_data(fit, tmp_path, path)
