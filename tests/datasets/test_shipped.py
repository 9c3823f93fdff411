"""The shipped data sets: complete, of the right types, with the levels in R's order."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import pandas as pd
import pytest

from lmeformula.datasets import catalogue, describe, load, names
from lmeformula.datasets.shipped import content_digest, read_cells
from lmeformula.errors import DatasetError

# The first levels of each grouping factor, as lme4 1.1.31, ordinal and glmmTMB list them in ranef().
LEVELS_IN_R = {
    ("sleepstudy", "Subject"): ["308", "309", "310", "330", "331"],
    ("Dyestuff", "Batch"): ["A", "B", "C", "D", "E"],
    ("Dyestuff2", "Batch"): ["A", "B", "C", "D", "E"],
    ("Penicillin", "plate"): ["a", "b", "c", "d", "e"],
    ("Penicillin", "sample"): ["A", "B", "C", "D", "E"],
    ("Pastes", "batch"): ["A", "B", "C", "D", "E"],
    ("Oats", "Block"): ["I", "II", "III", "IV", "V"],
    ("InstEval", "s"): ["1", "2", "3", "4", "5"],
    ("InstEval", "d"): ["1", "6", "7", "8", "12"],
    ("InstEval", "dept"): ["15", "5", "10", "12", "6"],
    ("insteval", "departments"): ["15", "5", "10", "12", "6"],
    ("cbpp", "herd"): ["1", "2", "3", "4", "5"],
    ("VerbAgg", "id"): ["1", "2", "3", "4", "5"],
    ("VerbAgg", "item"): ["S1WantCurse", "S1WantScold", "S1WantShout", "S2WantCurse"],
    ("grouseticks", "BROOD"): ["501", "502", "503", "504", "505"],
    ("grouseticks", "LOCATION"): ["1", "2", "3", "4", "5"],
    ("Salamanders", "site"): ["R-1", "R-2", "R-3", "R-4", "R-5"],
    ("Owls", "Nest"): ["AutavauxTV", "Bochet", "Champmartin", "ChEsard", "Chevroux"],
    ("wine", "judge"): ["1", "2", "3", "4", "5"],
    ("wine", "bottle"): ["1", "2", "3", "4", "5"],
}

# The first level is the one that treatment coding leaves out: these follow from R's coefficient names.
REFERENCE_LEVEL_IN_R = {
    ("cbpp", "period"): "1",  # period2, period3, period4
    ("VerbAgg", "Gender"): "F",  # GenderM
    ("VerbAgg", "btype"): "curse",  # btypescold, btypeshout
    ("VerbAgg", "situ"): "other",  # situself
    ("grouseticks", "YEAR"): "95",  # YEAR96, YEAR97
    ("Salamanders", "mined"): "yes",  # minedno
    ("Salamanders", "spp"): "GP",  # sppPR, sppDM, ...
    ("Owls", "FoodTreatment"): "Deprived",  # FoodTreatmentSatiated
    ("Owls", "SexParent"): "Female",  # SexParentMale
    ("wine", "temp"): "cold",  # tempwarm
    ("wine", "contact"): "no",  # contactyes
}

ORDERED_IN_R = {
    ("InstEval", "studage"): ["2", "4", "6", "8"],
    ("InstEval", "lectage"): ["1", "2", "3", "4", "5", "6"],
    ("cake", "temperature"): ["175", "185", "195", "205", "215", "225"],
    ("VerbAgg", "resp"): ["no", "perhaps", "yes"],
    ("wine", "rating"): ["1", "2", "3", "4", "5"],
    ("soup", "SURENESS"): ["1", "2", "3", "4", "5", "6"],
}


@pytest.mark.parametrize("name", names())
def test_each_set_is_what_its_description_says(name: str) -> None:
    frame, known = load(name), describe(name)
    assert frame.shape == (known.rows, len(known.columns))
    assert list(frame.columns) == [column.name for column in known.columns]
    assert not frame.isna().any(axis=None)
    for column in known.columns:
        values = frame[column.name]
        if column.kind == "numeric":
            assert pd.api.types.is_numeric_dtype(values)
        else:
            assert values.cat.ordered == (column.kind == "ordered")
            assert len(values.cat.categories) == column.num_levels
            assert set(values.cat.categories) == set(values)  # no level is unused
            assert all(isinstance(level, str) for level in values.cat.categories)
    assert known.source
    assert known.title


@pytest.mark.parametrize("name", [name for name in names() if name != "insteval"])
def test_the_values_have_their_recorded_checksum(name: str) -> None:
    known = describe(name)
    cells = read_cells(known)
    assert content_digest(cells) == known.content
    cells.iloc[-1, -1] = "0.123"
    assert content_digest(cells) != known.content


def test_a_checksum_sees_values_and_not_their_notation() -> None:
    table = pd.DataFrame({"x": ["1", "0.5"], "g": ["a", "b"]})
    same = pd.DataFrame({"x": ["1.0", "5e-1"], "g": ["a", "b"]})
    assert content_digest(table) == content_digest(same)
    assert content_digest(table) != content_digest(table.rename(columns={"x": "z"}))
    assert content_digest(table) != content_digest(table.iloc[::-1])


@pytest.mark.parametrize(("where", "levels"), LEVELS_IN_R.items(), ids=".".join)
def test_levels_stand_in_the_order_of_r(where: tuple[str, str], levels: list[str]) -> None:
    name, column = where
    assert list(load(name)[column].cat.categories[: len(levels)]) == levels


@pytest.mark.parametrize(("where", "level"), REFERENCE_LEVEL_IN_R.items(), ids=".".join)
def test_the_first_level_is_the_reference_level_of_r(where: tuple[str, str], level: str) -> None:
    name, column = where
    assert load(name)[column].cat.categories[0] == level


@pytest.mark.parametrize(("where", "levels"), ORDERED_IN_R.items(), ids=".".join)
def test_ordered_factors_of_r_are_ordered(where: tuple[str, str], levels: list[str]) -> None:
    values = load(where[0])[where[1]]
    assert values.cat.ordered
    assert list(values.cat.categories) == levels


def test_the_lecture_ratings_have_the_names_of_the_tutorial_and_of_lme4() -> None:
    tutorial, lme4 = load("insteval"), load("InstEval")
    assert list(tutorial.columns) == [
        "students",
        "instructors",
        "studage",
        "lectage",
        "service",
        "departments",
        "ratings",
    ]
    assert list(lme4.columns) == ["s", "d", "studage", "lectage", "service", "dept", "y"]
    tutorial.columns = lme4.columns
    pd.testing.assert_frame_equal(tutorial, lme4)
    assert set(lme4["service"]) == {0, 1}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("dyestuff", "Dyestuff"),
        ("SLEEPSTUDY", "sleepstudy"),
        ("VerbAGG", "VerbAgg"),
        ("INSTEVAL", "insteval"),
        ("Insteval", "insteval"),
    ],
)
def test_case_does_not_matter(spelling: str, name: str) -> None:
    assert describe(spelling).name == name


def test_every_call_gives_a_fresh_frame() -> None:
    first = load("sleepstudy")
    first.loc[:, "Reaction"] = 0.0
    assert load("sleepstudy")["Reaction"].min() > 0


def test_an_unknown_name_lists_those_that_are_shipped() -> None:
    with pytest.raises(DatasetError) as caught:
        load("sleepstdy")
    text = str(caught.value)
    assert "no data set 'sleepstdy' is shipped" in text
    assert "Did you mean 'sleepstudy'?" in text
    assert all(name in text for name in names())


def test_the_catalogue_prints_one_line_a_set() -> None:
    lines = repr(catalogue()).splitlines()
    assert lines[0].split() == ["name", "rows", "columns", "R", "package", "title"]
    assert [line.split()[0] for line in lines[1:]] == list(names())
    assert "73421" in next(line for line in lines if line.startswith("insteval"))


def test_the_readme_of_the_data_lists_every_set() -> None:
    home = importlib.resources.files("lmeformula") / "data"
    text = (home / "README.md").read_text(encoding="utf-8")
    for known in catalogue():
        row = f"| {known.name} | {known.rows} | {len(known.columns)} | {known.package} | {known.title} |"
        assert row in text.splitlines()
    shipped = {entry.name for entry in home.iterdir() if entry.name.endswith(".csv.gz")}
    assert shipped == {f"{known.item}.csv.gz" for known in catalogue()}


def test_importing_the_module_loads_no_data_frame_library() -> None:
    code = (
        "import sys, lmeformula.datasets; lmeformula.datasets.describe('insteval'); "
        "print([m for m in ('pandas', 'numpy', 'requests') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
