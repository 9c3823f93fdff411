"""Files that are damaged, changed by hand, or made to do harm: an error of ours, and nothing else happens."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmeformula as lf
from lmeformula.errors import ModelError, SavedFitError
from lmeformula.store.archive import JSON_SHARE, open_archive
from tests.examples import examples
from tests.store.fits import fitted
from tests.store.test_round_trip import TABLE, unfitted

FORMULA = (
    "y ~ poly(w, 2) + bs(z, df = 5) + scale(x) + cut(x, 3) + a + C(size, contr.treatment(base = 2)) "
    "+ (1 + x | g/h)"
)


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved fit with something of everything."""
    fit = unfitted(lf.design(FORMULA, TABLE))
    return fit.save(tmp_path_factory.mktemp("rich") / "fit.zip")


@pytest.fixture(scope="module")
def mcem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted("bernoulli mcem").save(tmp_path_factory.mktemp("mcem") / "fit.zip")


def parts_of(path: Path) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(parts.pop("fit.json")), parts


def rewritten(path: Path, target: Path, change: Callable[[Any, dict[str, bytes]], None]) -> Path:
    """A copy of a saved fit in which something was changed by hand."""
    header, parts = parts_of(path)
    change(header, parts)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fit.json", json.dumps(header))
        for name, content in parts.items():
            archive.writestr(name, content)
    return target


def npy(array: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, **options)
    return content.getvalue()


def put(header: Any, path: str, value: Any) -> None:
    """Set header[a][b][0]... for a path "a.b.0"."""
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in way:
        header = header[part]
    header[last] = value


RECIPE = "model.design.recipe"
EDITS: dict[str, tuple[str, Any, str]] = {
    "another format": ("format", "somebody else's", "is not a saved fit"),
    "a newer version": ("version", 2, "(?s)newer lmeformula, in version 2.*pip install --upgrade"),
    "no version": ("version", None, "not as fits are saved"),
    "an unknown part": ("hook", "os.system", "not as fits are saved"),
    "an unknown field": ("fit.evil", 1, "'evil' is unknown"),
    "an unknown method": (
        "fit.method",
        "magic",
        "'magic' is none of exact, quadrature, laplace, mcem",
    ),
    "an unknown outcome": ("fit.outcome", "FINE", "'FINE' is none of CONVERGED"),
    "a flag that is none": ("fit.reml", 1, "fit.reml: it is not true or false"),
    "a number that is none": ("fit.loglik.value", "big", "fit.loglik.value: it is not a number"),
    "an enormous number": ("fit.loglik.value", 10**400, "fit.loglik.value: it is too large"),
    "a negative count": ("fit.loglik.df", -1, "fit.loglik.df: it is not a whole number"),
    "a count that is none": ("fit.loglik.df", 1.5, "fit.loglik.df: it is not a whole number"),
    "one name too many": ("fit.param_names", ["a"] * 99, "there are 99"),
    "a list that is none": ("fit.param_names", "abc", "fit.param_names: it is not a list"),
    "a record that is none": ("fit.params", [], "fit.params: it is not a record"),
    "another array's name": ("fit.params.beta", "fixed_vcov", "has 1 dimensions|should have 1"),
    "an array that is absent": ("fit.params.beta", "nowhere", "has no array 'nowhere'"),
    "an array's name that is none": ("fit.params.beta", 3, "has no array 3"),
    "a path as an array": ("fit.params.beta", "../../etc/passwd", "has no array"),
    "sigma below zero": ("fit.params.sigma", -1.0, "sigma is not a positive number"),
    "no sigma": ("fit.params.sigma", None, "sigma does not go with the family"),
    "sigma not a number": ("fit.params.sigma", "nan", "sigma is not a positive number"),
    "an unknown family": ("model.family.name", "cauchy", "no family 'cauchy"),
    "an unknown link": ("model.family.link", "cauchit", "no link 'cauchit'"),
    "unknown thresholds": ("model.family.thresholds", "even", "no thresholds"),
    "another family": (
        "model.family",
        {"name": "poisson", "link": "log", "thresholds": "", "is_own": False},
        "and 21 elsewhere",
    ),
    "an unknown dtype": ("model.dtype", "object", "'object' is none of float64, float32"),
    "another formula": (
        "model.design.formula.formula",
        "y ~ x",
        "formula record do not fit together",
    ),
    "no formula": ("model.design.formula", None, "it is not a formula"),
    "code for a formula": (
        "model.design.formula.text",
        "__import__('os').system('x')",
        "not a formula|do not fit together",
    ),
    "a name too few": ("model.design.names", ["Intercept"], "elsewhere in the file"),
    "a term too few": ("model.design.terms", [], "terms are not those of the formula"),
    "an unknown structure": ("model.design.terms.0.covariance", "spiral", "structure 'spiral'"),
    "another group": ("model.design.terms.0.factors", ["a"], "not those of the formula"),
    "levels that are nowhere": ("model.design.terms.0.levels", 999, "no such list of texts"),
    "other levels": (
        "model.design.terms.0.levels",
        0,
        "not those of the formula|not the same everywhere",
    ),
    "a shape that is none": ("model.design.X", {"left out": [-1, 2]}, "not a whole number"),
    "another shape": ("model.design.X", {"left out": [90]}, "should have 2 dimensions"),
    "fewer rows": ("model.design.offset", {"left out": [3]}, "there are 3, and 94 elsewhere"),
    "a forgotten call": (f"{RECIPE}.memory.calls", [], r"what poly\(w, 2\) learned is missing"),
    "a call of another formula": (
        f"{RECIPE}.memory.calls.0.0",
        "poly(q, 2)",
        "formula has no 'poly",
    ),
    "no pair": (f"{RECIPE}.memory.calls.0", 1, "it is not a pair"),
    "a recurrence of another degree": (
        f"{RECIPE}.memory.calls.0.1",
        [{"alpha": [0.1], "norms2": [1.0, 2.0]}],
        "not of this degree",
    ),
    "a broken recurrence": (
        f"{RECIPE}.memory.calls.0.1",
        [{"alpha": [0.1, 0.2], "norms2": [1.0, 0.0, 2.0]}],
        "do not fit together",
    ),
    "a recurrence that is none": (f"{RECIPE}.memory.calls.0.1", [{"a": 1}], "not a recurrence"),
    "knots out of order": (
        f"{RECIPE}.memory.calls.1.1",
        {"inner": [2.0, 1.0], "bounds": [0.0, 3.0]},
        "knots are not in order",
    ),
    "knots that are nan": (
        f"{RECIPE}.memory.calls.1.1",
        {"inner": ["nan"], "bounds": [0.0, 3.0]},
        "nan cannot stand here",
    ),
    "a divisor of zero": (f"{RECIPE}.memory.calls.2.1", [1.0, 0.0], "divisor is not positive"),
    "three numbers of scale": (
        f"{RECIPE}.memory.calls.2.1",
        [1.0, 1.0, 1.0],
        "centre and a divisor",
    ),
    "intervals out of order": (
        f"{RECIPE}.memory.calls.3.1",
        [1.0, 0.0],
        "intervals are not in order",
    ),
    "an unknown kind of column": (f"{RECIPE}.memory.columns.0.1", "object", "'object' is none of"),
    "forgotten levels": (f"{RECIPE}.factors", [], "the levels of a are missing"),
    "a factor of another formula": (f"{RECIPE}.factors.0.0", "q", "the formula has no 'q'"),
    "forgotten groups": (f"{RECIPE}.groupings", [], "the levels of g are missing"),
    "groups without levels": (f"{RECIPE}.groupings.0.1.parts", [], "do not fit together"),
    "unknown contrasts": (
        f"{RECIPE}.factors.0.1.coding",
        {"kind": "x", "base": None, "matrix": None},
        "'x' is none",
    ),
    "a base that is no level": (
        f"{RECIPE}.factors.0.1.coding",
        {"kind": "treatment", "base": "q", "matrix": None},
        "base level 'q' is not a level",
    ),
    "a column too few": (f"{RECIPE}.kept", [0], "elsewhere in the file"),
    "texts that are none": ("texts", [[1]], "texts.0.0: it is not a text"),
    "other columns": (f"{RECIPE}.kept.1", 5, "are not those of the fit"),
    "cells of no factor": (f"{RECIPE}.observed.columns", [], "not combinations of the factors"),
}


@pytest.mark.parametrize("title", EDITS)
def test_files_that_were_changed_by_hand(title: str, rich: Path, tmp_path: Path) -> None:
    place, value, message = EDITS[title]
    path = rewritten(rich, tmp_path / "fit.zip", lambda header, parts: put(header, place, value))
    with pytest.raises(
        SavedFitError if title != "other columns" else lf.FormulaDataError, match=message
    ):
        lf.load(path).predict(TABLE)


def resaved(parts: dict[str, bytes], name: str, change: Callable[[Any], Any]) -> None:
    parts[f"{name}.npy"] = npy(change(np.load(io.BytesIO(parts[f"{name}.npy"]))))


ARRAYS: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "nan": (lambda p: resaved(p, "params.beta", lambda a: a * np.nan), "not finite"),
    "infinite modes": (lambda p: resaved(p, "modes.0", lambda a: a + np.inf), "not finite"),
    "another shape": (
        lambda p: resaved(p, "params.beta", lambda a: a[1:]),
        "elsewhere in the file",
    ),
    "a matrix": (lambda p: resaved(p, "params.beta", lambda a: a[None]), "should have 1 dim"),
    "other modes": (
        lambda p: resaved(p, "modes.0", lambda a: a.T.copy()),
        "modes of .* has the shape",
    ),
    "whole numbers": (
        lambda p: resaved(p, "params.beta", lambda a: a.astype(int)),
        "are <i8, not <f8",
    ),
    "texts": (lambda p: resaved(p, "params.beta", lambda a: a.astype(str)), "of type <U"),
    "truncated": (
        lambda p: p.update({"params.beta.npy": p["params.beta.npy"][:-9]}),
        "not as long",
    ),
    "longer": (
        lambda p: p.update({"params.beta.npy": p["params.beta.npy"] + b"12"}),
        "not as long",
    ),
    "no array": (lambda p: p.update({"params.beta.npy": b"beta"}), "cannot be read"),
    "a huge claim": (
        lambda p: p.update(
            {"params.beta.npy": npy(np.zeros(1)).replace(b"(1,), }    ", b"(9999,), } ")}
        ),
        "not as long as it says",
    ),
    "gone": (lambda p: p.pop("params.beta.npy"), "has no array"),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("title", ARRAYS)
def test_arrays_that_were_changed_by_hand(title: str, rich: Path, tmp_path: Path) -> None:
    change, message = ARRAYS[title]
    path = rewritten(rich, tmp_path / "fit.zip", lambda header, parts: change(parts))
    with pytest.raises(SavedFitError, match=message):
        lf.load(path)


class Harm:
    """Unpickling this raises what no loader may catch."""

    def __reduce__(self) -> Any:
        return eval, ("(_ for _ in ()).throw(SystemExit('code ran'))",)


def test_no_pickle_is_read(rich: Path, tmp_path: Path) -> None:
    harm = npy(np.array([Harm()], dtype=object), allow_pickle=True)
    path = rewritten(
        rich, tmp_path / "a.zip", lambda h, parts: parts.update({"params.beta.npy": harm})
    )
    with pytest.raises(SavedFitError, match=r"of type \|O"):
        lf.load(path)
    whole = tmp_path / "b.zip"
    whole.write_bytes(pickle.dumps(Harm()))
    with pytest.raises(SavedFitError, match="not a saved fit, or only a part"):
        lf.load(whole)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no readable fit.json"),
        ("{", "no readable fit.json"),
        ("[" * 100_000, "no readable fit.json"),
        ('{"format": NaN}', "has NaN"),
        ('{"format": 1, "format": 2}', "the same thing twice"),
        ("[1, 2]", "is not a saved fit"),
        ("1" * 6000, "no readable fit.json|is not a saved fit"),
    ],
    ids=["empty", "open", "deep", "nan", "twice", "list", "long number"],
)
def test_json_that_is_none_of_ours(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "fit.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fit.json", text)
    with pytest.raises(SavedFitError, match=message):
        lf.load(path)


def test_files_that_are_no_zip(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"{}", b"\x00" * 1000):
        (tmp_path / "fit.zip").write_bytes(content)
        with pytest.raises(SavedFitError, match="not a saved fit, or only a part"):
            lf.load(tmp_path / "fit.zip")
    with zipfile.ZipFile(tmp_path / "fit.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(SavedFitError, match=r"has no fit\.json"):
        lf.load(tmp_path / "fit.zip")
    with pytest.raises(FileNotFoundError):
        lf.load(tmp_path / "nowhere.zip")
    with pytest.raises(IsADirectoryError):
        lf.load(tmp_path)


def test_bombs_are_not_unpacked(rich: Path, tmp_path: Path) -> None:
    zeros = npy(np.zeros(4_000_000))
    path = rewritten(rich, tmp_path / "a.zip", lambda h, parts: parts.update({"big.npy": zeros}))
    assert path.stat().st_size < 200_000
    with pytest.raises(SavedFitError, match=r"may take 64,.* bytes of memory"):
        lf.load(path, max_bytes=30_000_000)
    assert lf.load(path).nobs == lf.load(rich).nobs
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fit.json", "[" + "[]," * 1_000_000 + "[]]")
    with pytest.raises(SavedFitError, match=r"may take 12\d,.* bytes of memory"):
        lf.load(tmp_path / "b.zip", max_bytes=10_000_000)


@pytest.mark.parametrize(
    "shape",
    [(-1, -1), (0, -5), (0, 10**23 - 1), (1,) * 70, (True,), (2**62, 0), ()],
    ids=lambda shape: str(shape)[:20],
)
def test_shapes_that_no_array_has(rich: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = io.BytesIO()
    head = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, head)
    raw = content.getvalue() + (b"\0" * 8 if shape and shape[0] in (1, True) else b"")

    def change(header: Any, parts: dict[str, bytes]) -> None:
        parts["fit.params.beta.npy"] = raw
        header["fit"]["params"]["beta"] = "fit.params.beta"

    with pytest.raises(SavedFitError):
        lf.load(rewritten(rich, tmp_path / "a.zip", change))


LOADED = """
import resource, sys
import numpy, pandas, scipy.linalg, lmeformula as lf
from lmeformula.store.save import load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load(sys.argv[1], max_bytes=int(sys.argv[2]))
except lf.SavedFitError:
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("text", ["[" + "[[]]," * 700_000 + "[]]", '["' + 'a","' * 900_000 + 'a"]'])
def test_memory_stays_within_what_was_said(text: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "fit.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fit.json", text)
    limit = len(text) * JSON_SHARE + 2**20
    command = [sys.executable, "-c", LOADED, str(tmp_path / "fit.zip"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < limit + 40 * 2**20  # what the reader itself brings along


def test_parts_packed_otherwise_or_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("fit.json", "{}")
    with pytest.raises(SavedFitError, match=r"packs fit\.json in a way"):
        lf.load(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("fit.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("fit.json", "{}")
    with pytest.raises(SavedFitError, match="parts of the same name"):
        lf.load(tmp_path / "b.zip")


def test_every_truncation_is_noticed(mcem: Path, tmp_path: Path) -> None:
    content, path = mcem.read_bytes(), tmp_path / "fit.zip"
    for length in np.linspace(0, len(content) - 1, 60).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(SavedFitError):
            lf.load(path)


@settings(max_examples=examples(150))
@given(data=st.data())
def test_flipped_bytes_are_noticed_or_harmless(mcem: Path, tmp_path_factory, data) -> None:
    content = bytearray(mcem.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("flip") / "fit.zip"
    path.write_bytes(content)
    try:
        loaded = lf.load(path)
    except SavedFitError:
        return
    # What is not under a checksum, such as dates in the zip's directory, changes nothing.
    assert repr(loaded) == repr(lf.load(mcem))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(record: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [way] if way else []
    items = record.items() if isinstance(record, dict) else enumerate(record)
    for key, value in items:
        found += places(value, (*way, key)) if isinstance(value, dict | list) else [(*way, key)]
    return found


@settings(max_examples=examples(300))
@given(data=st.data())
def test_junk_anywhere_is_an_error_of_ours_or_loads(rich: Path, tmp_path_factory, data) -> None:
    header, parts = parts_of(rich)
    *way, last = data.draw(st.sampled_from(places(header)))
    record = header
    for key in way:
        record = record[key]
    record[last] = data.draw(JUNK)
    path = tmp_path_factory.mktemp("junk") / "fit.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fit.json", json.dumps(header))
        for name, content in parts.items():
            archive.writestr(name, content)
    try:
        loaded = lf.load(path)
    except SavedFitError:
        return
    repr(loaded)
    try:
        loaded.predict(TABLE.iloc[5:8])
    except (lf.FormulaDataError, ModelError):
        return


# ---- writing


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = fitted("exact").save(tmp_path / "fit.zip")
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        fitted("poisson").save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["fit.zip"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fitted("exact").save(tmp_path / "nowhere" / "fit.zip")


def test_the_file_is_what_numpy_reads(rich: Path) -> None:
    with np.load(rich) as found:
        assert found["params.beta"].shape == (len(lf.load(rich).fixef),)
    with open_archive(rich) as archive:
        assert archive.header()["version"] == 1
