"""The wheel: built from the source archive, installed in an environment of its own, used from there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import lmeformula

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this process's PYTHON* settings, and return what it prints."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, and the wheel built from that archive."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(archives: Path) -> Path:
    (wheel,) = archives.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds the wheel, and borrows the libraries it needs."""
    folder = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", "--disable-pip-version-check", wheel, cwd=folder)
    # A plain path in a .pth file is put on sys.path, but .pth files found there are not read: the libraries
    # of this environment can be imported, its editable installation of lmeformula cannot.
    site = run(
        python, "-I", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    )
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site.strip()) / "borrowed.pth").write_text("\n".join(borrowed))
    return python


def test_the_wheel_holds_the_grammar_and_the_data_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    grammar = {f"lmeformula/{p.relative_to(ROOT)}" for p in (ROOT / "grammar").iterdir()}
    data = {str(p.relative_to(ROOT)) for p in (ROOT / "lmeformula" / "data").iterdir()}
    code = {str(p.relative_to(ROOT)) for p in (ROOT / "lmeformula").rglob("*.py")}
    assert grammar | data | code <= names
    assert "lmeformula/grammar/lmeformula.lark" in names
    assert {"lmeformula/data/InstEval.csv.gz", "lmeformula/py.typed"} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"lmeformula"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_source_archive_holds_what_a_packager_needs(archives: Path) -> None:
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml"} <= names
    assert {"grammar/lmeformula.lark", "tests/test_packaging.py"} <= names
    assert not any(name.startswith((".venv", "dist/", ".git/")) for name in names)


def test_the_installed_wheel_imports_from_its_own_place(installed: Path, tmp_path: Path) -> None:
    code = "import lmeformula; print(lmeformula.__file__, lmeformula.__version__)"
    place, version = run(installed, "-I", "-c", code, cwd=tmp_path).split()
    assert Path(place).is_relative_to(installed.parents[1])
    assert version == lmeformula.__version__


def test_the_installed_wheel_parses(installed: Path, tmp_path: Path) -> None:
    code = "import lmeformula as lf; print(lf.parse('y ~ x + (1 + x | g)'))"
    assert run(installed, "-I", "-c", code, cwd=tmp_path).strip()


def test_the_installed_wheel_loads_data(installed: Path, tmp_path: Path) -> None:
    code = "import lmeformula as lf; print(*lf.datasets.load('insteval').shape)"
    assert run(installed, "-I", "-c", code, cwd=tmp_path).split() == ["73421", "7"]


def test_the_installed_wheel_designs(installed: Path, tmp_path: Path) -> None:
    code = (
        "import lmeformula as lf\n"
        "data = lf.datasets.load('sleepstudy')\n"
        "print(*lf.design('Reaction ~ Days + (Days | Subject)', data).X.shape)"
    )
    assert run(installed, "-I", "-c", code, cwd=tmp_path).split() == ["180", "2"]


def test_the_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    command = installed.parent / "lmeformula"
    assert run(command, "parse", "y ~ x + (1 + x | g)", cwd=tmp_path).strip()


def test_the_metadata_names_one_version_and_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = {"plots", "arviz", "sklearn", "polars", "big", "dask", "docs", "dev", "all"}
    assert set(extras) == named
    assert extras["all"] == ["lmeformula[plots,arviz,sklearn,polars,big,dask]"]
    assert "version" in project["dynamic"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{lmeformula.__version__}]" in changes
