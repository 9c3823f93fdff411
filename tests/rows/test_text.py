"""A text file's rows are those that pandas reads of it; several files are one table."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lmeformula.design import design
from lmeformula.design.frame import column_of, open_frame
from lmeformula.design.values import Categories
from lmeformula.errors import FormulaDataError

# As they stand in a file: numbers in every spelling, and what looks like one.
CELLS = (
    "+1", "007", "-0", "00", "1.", "+.5", ".5", "1e5", "1E+05", "1e400", "1_000", " 1", "1 ", "\t1", "0x1F",
    "0b101", "inf", "Inf", "-inf", "+inf", "Infinity", "nan", "NaN", "NAN", "NA", "na", "null", "NULL",
    "Null", "none", "None", "N/A", "n/a", "-", "--", ".", "", "#N/A", "<NA>", "true", "True", "TRUE", "tRUE",
    "T", "t", "yes", "no", "on", "0", "12:30", "2020-01-01", "2020-01-01 10:00:00", "1/2/2020",
    "99999999999999999999", "9223372036854775808", "18446744073709551615", "18446744073709551616",
    "-9223372036854775809", "1" * 39, "1e", "e5", "1e5.5", "1d5", "1f", "½", "\u0661", "1%", "$1", "(1)",
    "'1'", '"1"', '" 1"', '"007"', '""', '"NA"', '"a""b"', "'a'", "a", "1;2", "1.0", "1.7976931348623159e308",
    "4.9e-325", "NaN ", " NA", " true", "1e-400", "-nan", "+nan", "01.5", "0001e1", "-007", "--1", "1-", "é",
    "9007199254740993",
)  # fmt: skip
OTHERS = ("", "2", "2.5", "a", "True", "9223372036854775807")
# pandas takes nothing for text beside a whole number of 64 bits without a sign.
PANDAS_TEXT = {"9223372036854775808", "18446744073709551615"}


def summary(column: Any) -> tuple[Any, ...]:
    if isinstance(column, Categories):
        labels = np.array([*column.levels, None], dtype=object)[column.codes].tolist()
        return type(column), labels, column.levels
    # Zero has a sign or not.
    return type(column), str((column.values + 0).tolist()), column.values.dtype.kind


def all_columns(data: Any) -> dict[str, Any]:
    frame = open_frame(data)
    return {name: summary(column_of(frame, name)) for name in frame.columns}


@pytest.mark.parametrize("other", OTHERS)
def test_cells_are_what_pandas_reads(other: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [
        ",".join(map(str, range(len(CELLS)))),
        *[",".join(CELLS)] * 2,
        ",".join([other] * len(CELLS)),
    ]
    path.write_text("\n".join(lines) + "\n")
    found, expected = all_columns(path), all_columns(pd.read_csv(path))
    for number, cell in enumerate(CELLS):
        if other or cell not in PANDAS_TEXT:
            assert found[str(number)] == expected[str(number)], cell


FILES = {
    "short rows": b"x,y,z\n1,2,3\n4,5\n6\n",
    "empty lines": b"\n\nx,y\n1,2\n\n3,4\n\n",
    "empty lines of one column": b"x\n1\n\n3\n",
    "ends of lines of Windows": b"x,y\r\n1,2\r\n3,4\r\n",
    "ends of lines of two kinds": b"x,y\r\n1,2\n3,4\r\n",
    "an open last line": b"x,y\n1,2",
    "a line in quotes": b'x,y\n1,"a\nb"\n3,4\n',
    "quotes within": b'x,y\n1,a"b"c\n3,"a"b\n5, "a"\n',
    "a hash": b"#x,y\n#1,2\n3,4\n",
    "a mark of UTF-8": "\ufeffx,y\n1,é\n".encode(),
    "no rows but names": b"x,y\n",
    "names twice": b"x,x,X\n1,2,3\n",
    "no name": b",x\n1,2\n3,4\n",
    "numbers as names": b"2019,x\n1,2\n3,4\n",
    "t and f": b"x,y\nt,1\n,2\nf,3\n",
    "gz": gzip.compress(b"x,y\n1,a\n"),
    "bz2": bz2.compress(b"x,y\n1,a\n"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_what_pandas_reads(kind: str, tmp_path: Path) -> None:
    path = tmp_path / (f"a.csv.{kind}" if kind in ("gz", "bz2") else "a.csv")
    path.write_bytes(FILES[kind])
    if kind == "no rows but names":
        with pytest.raises(FormulaDataError, match="no rows"):
            open_frame(path)
    else:
        assert all_columns(path) == all_columns(pd.read_csv(path))


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("x;y\n1;2\n", ";"),
        ("x\ty\n1\t2\n", "\t"),
        ("x|y\n1|2\n", "|"),
        ("x;1,5 mg\n1,5;2,5\n", ";"),
        ("rate (a;b;c),y\n1,2\n", ","),
        ('"a;b;c",y\n1,2\n', ","),
    ],
)
def test_what_stands_between_cells_is_found(text: str, separator: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    expected = all_columns(pd.read_csv(tmp_path / "a.csv", sep=separator))
    assert all_columns(tmp_path / "a.csv") == expected


def test_blocks_of_other_types_are_one_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {
        "whole, then not": ["1", "2", "2.5", "3"],
        "numbers, then text": ["007", "1.50", "a", "3"],
        "nothing, then text": ["", "", "a", "3"],
        "nothing, then truth": ["", "", "True", "False"],
        "truth, then numbers": ["True", "true", "1", "0"],
        "ids, then one is missing": ["9007199254740993", "9007199254740992", "", "7"],
        "whole, then larger ones": ["1", "2", "18446744073709551615", "3"],
        "large, then not whole": ["18446744073709551615", "1", "2.5", "3"],
        "large, then below zero": ["18446744073709551615", "1", "-1", "3"],
    }  # fmt: skip
    pd.DataFrame(cells).to_csv(tmp_path / "a.csv", index=False)
    expected = all_columns(pd.read_csv(tmp_path / "a.csv"))
    monkeypatch.setattr("lmeformula.rows.text.BLOCK_ROWS", 2)
    assert all_columns(tmp_path / "a.csv") == expected


@pytest.mark.parametrize("name", ["a[1].csv", "a?.csv", "a*.csv"])
def test_a_file_whose_name_is_a_pattern_is_that_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x\n1\n")
    (tmp_path / "a1.csv").write_text("x\n99\n")
    assert column_of(open_frame(tmp_path / name), "x").values.tolist() == [1]


def test_columns_of_several_files_are_known_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("z,y,x\nu,4,3.5\n")
    (tmp_path / "c.csv").write_text("X,y\n7,4\n")
    (tmp_path / "d.csv").write_text("")
    frame = open_frame(tmp_path / "*.csv")
    assert frame.columns == ("x", "y", "z", "X")
    assert str(column_of(frame, "x").values.tolist()) == "[1.0, 3.5, nan]"
    assert str(column_of(frame, "X").values.tolist()) == "[nan, nan, 7.0]"
    assert column_of(frame, "y").values.tolist() == [2, 4, 4]
    assert summary(column_of(frame, "z"))[1] == [None, "u", None]


def test_text_in_one_file_makes_the_column_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n007\n")
    (tmp_path / "b.csv").write_text("x\nA7\n")
    assert summary(column_of(open_frame(tmp_path / "*.csv"), "x"))[1] == ["007", "A7"]


def test_ids_of_more_than_64_bits_stay_apart(tmp_path: Path) -> None:
    ids = ["18446744073709551617", "18446744073709551616", "7"]
    (tmp_path / "a.csv").write_text("g\n" + "\n".join(ids))
    levels = design("~ 1 + (1 | g)", tmp_path / "a.csv").terms[0].levels
    assert sorted(levels) == sorted(ids)


REFUSED = {
    "long rows": (b"x,y\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
    "long rows alone": (b"x,y\n0,1,2\n1,3,4\n", "Expected 2 fields in line 2, saw 3"),
    "a title": (b"a title\nx,y\n1,2\n", "Expected 1 fields in line 2, saw 2"),
    "Latin-1": ("x,y\n1,é\n".encode("latin-1"), "is not UTF-8 text"),
    "Latin-1 far down": (b"x,y\n" + b"1,a\n" * 99_999 + b"1,\xe9\n", "is not UTF-8 text"),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), "is not UTF-8 text"),
    "an open quote": (b'x,y\n1,"a\n3,4\n', "EOF inside string"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_file_is_refused(kind: str, tmp_path: Path) -> None:
    content, problem = REFUSED[kind]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(FormulaDataError) as error:
        # Rows are looked at to the end of what is not used, too.
        open_frame(tmp_path / "a.csv", lambda _: ["x"])
    assert problem in error.value.problem
    assert "pandas.read_csv" in error.value.hint
