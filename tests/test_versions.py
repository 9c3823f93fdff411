"""What a report of a fault needs is printed, and costs no import."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lmeformula as lf
from lmeformula.versions import LIBRARIES, versions

ROOT = Path(__file__).parents[1]


def test_all_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    lf.show_versions()
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["numpy"] == importlib.metadata.version("numpy")
    assert set(shown) == {"python", "system", "processors", "lmeformula", "blas", *LIBRARIES}
    assert shown["lmeformula"] == lf.__version__


def test_one_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert versions()["duckdb"] == "not installed"


def test_tensorflow_is_not_imported_for_it() -> None:
    code = "import lmeformula as lf, sys; lf.show_versions(); sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_what_is_needed_is_listed() -> None:
    # Libraries that the package needs are among those that it shows.
    needed = importlib.metadata.requires("lmeformula") or []
    names = {re.split(r"[^\w-]", one)[0] for one in needed if "extra ==" not in one}
    others = {"setuptools", "platformdirs", "requests", "rich", "threadpoolctl", "urllib3"}
    assert names - others <= set(LIBRARIES)


@pytest.mark.parametrize(
    ("file", "line"),
    [("CITATION.cff", "version: {}\n"), ("conda/recipe.yaml", 'version: "{}"\n')],
)
def test_the_citation_and_the_recipe_are_of_this_version(file: str, line: str) -> None:
    if not (ROOT / file).exists():
        pytest.skip("an installed package has none")
    assert line.format(lf.__version__) in (ROOT / file).read_text(encoding="utf-8")


def test_the_recipe_needs_what_the_package_needs() -> None:
    if not (ROOT / "conda").exists():
        pytest.skip("an installed package has none")
    # Conda has the same names, and a space before a range.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    run = text.partition("  run:\n")[2].partition("\n\n")[0]
    listed = {line.strip(" -").replace(" ", "", 1) for line in run.splitlines()}
    needed = {one.partition(";")[0].strip() for one in project["dependencies"]}
    assert listed - {"python>=${{ python_min }}"} == needed
