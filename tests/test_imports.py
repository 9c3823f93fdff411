"""Who may import whom, held by reading the source; and what an import loads, held by doing it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lmeformula"

# A module imports from its own folder and from folders further left; those in one group not from one another.
LAYERS = (
    ("errors", "arrays", "streams", "versions", "watch"),
    ("files",),
    ("arguments",),
    ("checkpoint",),
    ("startup",),
    ("em", "datasets"),
    ("formula",),
    ("covariance",),
    ("rows",),
    ("design",),
    ("algebra",),
    ("family",),
    ("priors",),
    ("model",),
    ("likelihood",),
    ("drawn",),
    ("sampling",),
    ("history", "certificate"),
    ("fit",),
    ("estimation",),
    ("handwritten",),
    ("store",),
    ("text", "axes"),
    ("prediction",),
    ("inference",),
    ("checking",),
    ("handing",),
    ("serving",),
    ("views",),
    ("face",),
    ("api",),
    ("as_in_r",),
    ("sklearn",),
    ("demo", "reading"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, group in enumerate(LAYERS) for name in group}

# The engine knows nothing of formulas, and a data set nothing of models.
ONLY_BASE = ("em", "datasets")
BASE = ("errors", "arrays", "arguments", "files", "checkpoint", "startup")
# The demo and the command line are users of the public names, as anybody is.
ENTRY_POINTS = ("demo", "cli")


# A library that appears in one place can be replaced there.
ONE_PLACE = {"formulaic": "lmeformula.design.coding", "lark": "lmeformula.formula"}
WITHOUT_TENSORFLOW = ("errors", "datasets", "formula", "design")
TENSORFLOW = {"tensorflow", "tensorflow_probability", "tf_keras", "keras"}


def sources() -> dict[str, str]:
    """Module name -> source text, of the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


class Import(NamedTuple):
    line: int
    name: str  # absolute and dotted
    is_deferred: bool  # in a function, or for the type checker only


def imports(module: str, source: str, is_package: bool = False) -> Iterator[Import]:
    """Yield every import, wherever in the module it stands."""
    base = module.split(".") if is_package else module.split(".")[:-1]

    def visit(node: ast.AST, is_deferred: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, is_deferred)
        elif isinstance(node, ast.ImportFrom):
            up = base[: len(base) - node.level + 1] if node.level else []
            origin = ".".join([*up, node.module] if node.module else up)
            for alias in node.names:
                yield Import(node.lineno, f"{origin}.{alias.name}", is_deferred)
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, is_deferred or is_function or is_for_types)

    return visit(ast.parse(source), False)


def folder(name: str) -> str:
    return name.split(".")[1]


def objection(module: str, imported: str) -> str:
    """Say what is wrong with this import, or "" where nothing is."""
    top = imported.partition(".")[0]
    home = folder(module)
    if top in TENSORFLOW and home in WITHOUT_TENSORFLOW:
        return f"{home} works without TensorFlow"
    if top in ONE_PLACE and not f"{module}.".startswith(f"{ONE_PLACE[top]}."):
        return f"only {ONE_PLACE[top]} imports {top}"
    if home == "formula" and top not in {*sys.stdlib_module_names, "lark", "lmeformula"}:
        return "formula imports lark only"
    if top != "lmeformula":
        return ""
    source = folder(f"{imported}.")
    if source == home or (source not in RANK and home in ENTRY_POINTS):
        return ""
    if source not in RANK:
        return f"import {source or 'its names'} from the module that defines it"
    if home in ONLY_BASE and source not in BASE:
        return f"{home} imports nothing of the package but {', '.join(BASE)}"
    if source == "datasets" and home not in ENTRY_POINTS:
        return f"only {' and '.join(ENTRY_POINTS)} use data sets"
    if RANK[source] >= RANK[home]:
        return f"{source} is not to the left of {home}"
    return ""


def objections(modules: Mapping[str, str]) -> list[str]:
    found = []
    for module, source in modules.items():
        if module == "lmeformula":
            continue  # the lazy front door names everything, and loads nothing
        if folder(module) not in RANK:
            found.append(f"{module}: give {folder(module)!r} a place in LAYERS and CONTRIBUTING.md")
            continue
        is_package = any(other.startswith(f"{module}.") for other in modules)
        for line, name, _ in imports(module, source, is_package):
            if why := objection(module, name):
                found.append(f"{module}:{line} imports {name}: {why}")
    return found


def test_imports_point_left() -> None:
    assert objections(sources()) == []


@pytest.mark.parametrize(
    ("module", "line", "why"),
    [
        ("formula.parse", "from lmeformula.design import Design", "design is not to the left"),
        ("formula.parse", "def f():\n    import lmeformula.fit", "fit is not to the left"),
        ("formula.parse", "from ..model import compile", "model is not to the left"),
        ("formula.parse", "import numpy as np", "formula imports lark only"),
        ("em.run", "from lmeformula.design.design import TermBlock", "nothing of the package but"),
        ("em.run", "from .. import model", "nothing of the package but"),
        ("datasets.load", "from lmeformula.em import run", "nothing of the package but"),
        ("datasets.load", "from lmeformula.formula import parse", "nothing of the package but"),
        ("views.plots", "from lmeformula.datasets import load", "only demo and cli use data sets"),
        ("design.frame", "import tensorflow as tf", "works without TensorFlow"),
        ("design.frame", "import formulaic", "only lmeformula.design.coding imports formulaic"),
        ("design.frame", "from lark import Lark", "only lmeformula.formula imports lark"),
        (
            "views.text",
            "from lmeformula import parse",
            "import parse from the module that defines it",
        ),
        ("views.text", "import lmeformula as lf", "import its names from the module that defines"),
        ("newcomer", "import math", "give 'newcomer' a place"),
        (
            "fit",
            "from lmeformula.inference.tidy import tidy",
            "inference is not to the left of fit",
        ),
        ("fit", "def f():\n    from lmeformula.api import fit", "api is not to the left of fit"),
        ("model.compile", "def f():\n    import lmeformula.views", "views is not to the left"),
        ("em.run", "if TYPE_CHECKING:\n    import lmeformula.model", "nothing of the package but"),
    ],
)
def test_a_planted_import_is_caught(module: str, line: str, why: str) -> None:
    found = objections({f"lmeformula.{module}": line})
    assert len(found) == 1
    assert why in found[0]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("formula.parse", "import re\nfrom lark import Lark\nfrom lmeformula.errors import X"),
        ("formula.parse", "from .ir import Formula\nfrom lmeformula.formula import ast"),
        ("design.coding", "import formulaic\nimport numpy\nfrom lmeformula.formula.ir import Term"),
        ("em.run", "import tensorflow as tf\nfrom lmeformula.errors import ModelError"),
        ("cli", "from lmeformula import datasets\nfrom lmeformula.api import fit"),
        ("demo", "import lmeformula as lf\nfrom lmeformula import parse"),
        ("face", "class Fit:\n    def tidy(self):\n        from lmeformula.inference import tidy"),
        ("face", "if TYPE_CHECKING:\n    from lmeformula.views.summary import Summary"),
    ],
)
def test_imports_to_the_left_are_allowed(module: str, line: str) -> None:
    assert objections({f"lmeformula.{module}": line}) == []


def file_of(name: str, modules: Mapping[str, str]) -> str:
    """The file that is imported, or that has the name that is; "" for one beyond the package."""
    return next((each for each in (name, name.rpartition(".")[0]) if each in modules), "")


def circles(modules: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The files that import one another, in whatever way: when called, or for the type checker, as well."""
    # The lazy front door names everything, and nothing goes through it.
    names = sorted(set(modules) - {"lmeformula"})
    place = {name: number for number, name in enumerate(names)}
    meet = sp.lil_array((len(names), len(names)), dtype=bool)
    for module in names:
        is_package = any(other.startswith(f"{module}.") for other in modules)
        for _, name, _ in imports(module, modules[module], is_package):
            if (source := file_of(name, modules)) in place:
                meet[place[module], place[source]] = True
    count, circle = connected_components(meet.tocsr(), directed=True, connection="strong")
    found = [np.flatnonzero(circle == number) for number in range(count)]
    return [tuple(names[each] for each in files) for files in found if len(files) > 1]


def test_no_files_import_one_another_in_a_circle() -> None:
    assert circles(sources()) == []


CIRCLES = {
    "at the top": {"em.a": "from lmeformula.em.b import f", "em.b": "from lmeformula.em import a"},
    "when called": {
        "em.a": "import lmeformula.em.b",
        "em.b": "def f():\n    from lmeformula.em.a import g",
    },
    "for the type checker": {
        "em.a": "from .b import f",
        "em.b": "if TYPE_CHECKING:\n    from .a import Record",
    },
    "of three": {
        "em.a": "from .b import f",
        "em.b": "from .c import g",
        "em.c": "from .a import h",
    },
    "between folders": {
        "em.a": "from lmeformula.model.b import f",
        "model.b": "from lmeformula.em.a import g",
    },
}


@pytest.mark.parametrize("planted", CIRCLES.values(), ids=CIRCLES)
def test_a_planted_circle_is_caught(planted: dict[str, str]) -> None:
    modules = {f"lmeformula.{name}": source for name, source in planted.items()}
    aside = {
        "lmeformula.em.aside": "from lmeformula.em.a import x",
        "lmeformula": "from .em import a",
    }
    assert circles(modules | aside) == [tuple(sorted(modules))]


def test_a_circle_through_a_package_is_caught() -> None:
    """Who takes a name from a package takes what its `__init__` takes."""
    planted = {
        "lmeformula.em": "from lmeformula.em.a import f",
        "lmeformula.em.a": "from lmeformula.em import g",
    }
    assert circles(planted) == [("lmeformula.em", "lmeformula.em.a")]


def test_what_two_files_import_is_no_circle() -> None:
    below = {
        "lmeformula": "",
        "lmeformula.em": "",
        "lmeformula.em.a": "import numpy\nfrom lmeformula.em import b, c",
        "lmeformula.em.b": "from lmeformula.em.c import f\nfrom lmeformula import em",
        "lmeformula.em.c": "from lmeformula.errors import ModelError",
    }
    assert circles(below) == []


def test_contributing_shows_the_same_order_and_the_same_house() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    order = re.search(r"^`errors`, .*?$(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert order is not None
    shown = tuple(tuple(re.findall(r"`(\w+)`", group)) for group in order[0].split("<"))
    assert shown == LAYERS[:-1]
    house = text.split("```")[1]
    files = {path.name for path in (*ROOT.iterdir(), *ROOT.glob("[!.]*/**/*"))}
    drawn = re.findall(r"(\w+(?:\.\w+)?)(/?)(?= )", house.replace("\n", "  \n"))
    assert {name for name, slash in drawn if slash or "." in name} <= files
    units = {path.name for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert units - {"__main__.py", "__pycache__"} <= {name for name, _ in drawn}


def loaded_by(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter after `code`."""
    report = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# Seconds are for benchmarks/import_time.py, on a quiet machine; these are what the seconds are spent on.
SLOW = {"tensorflow", "tensorflow_probability", "pandas", "formulaic", "scipy", "matplotlib"}


def test_importing_the_package_loads_no_other_library() -> None:
    beyond = loaded_by("import lmeformula") - loaded_by("pass") - set(sys.stdlib_module_names)
    assert beyond == {"lmeformula"}


def test_parsing_loads_nothing_slow() -> None:
    code = "import lmeformula as lf; print(lf.parse('y ~ x + (x | g)').text)"
    assert loaded_by(code).isdisjoint(SLOW | {"numpy"})


def test_designing_does_not_load_tensorflow() -> None:
    code = "import lmeformula as lf; lf.design('Yield ~ 1 + (1 | Batch)', lf.datasets.load('Dyestuff'))"
    assert loaded_by(code).isdisjoint(TENSORFLOW)


@pytest.mark.parametrize(
    "asked", ["fit.params, fit.param_stderr, fit.vcov", "fit.refit(fit.model.design.y + 1).fixef"]
)
def test_exact_fits_load_neither_tensorflow_nor_what_draws(asked: str) -> None:
    code = (
        "import lmeformula as lf; data = lf.datasets.load('Dyestuff')\n"
        f"fit = lf.fit('Yield ~ 1 + (1 | Batch)', data); {asked}"
    )
    assert loaded_by(code).isdisjoint(TENSORFLOW | {"matplotlib", "arviz"})


# Each family but for those that are written out for themselves, with one predictor and with several.
LAPLACE = {
    "student": "{'mu': 'y ~ x + (1 | g)', 'scale': '~ x', 'df': '~ 1'}",
    "beta": "{'mu': 'share ~ x + (1 | g)', 'precision': '~ x'}",
    "zero_inflated_poisson": "{'mu': 'count ~ x + (1 | g)', 'zi': '~ x'}",
    "hurdle_nbinom2": "'count ~ x + (1 | g)'",
    "generalized_poisson": "'count ~ x + (1 | g)'",
    "cumulative": "{'mu': 'rating ~ x + (1 | g)', 'disc': '~ x'}",
    "categorical": "'grade ~ x + (1 | g)'",
}


def test_laplace_fits_do_not_load_tensorflow() -> None:
    code = (
        "import numpy as np, sys, lmeformula as lf; rng = np.random.default_rng(1); x = rng.normal(size=60)\n"
        "y = x + rng.standard_t(4, size=60); g = np.arange(60) % 6; count = rng.poisson(2.0, 60) * (y > -1)\n"
        "data = {'x': x, 'y': y, 'g': g, 'count': count, 'share': 1.0 / (1.0 + np.exp(-y))}\n"
        "data['rating'] = 1 + np.digitize(y, [-0.5, 0.5])\n"
        "data['grade'] = np.array(list('oabc'))[data['rating']]\n"
        f"for family, formulas in {{{', '.join(f'{k!r}: {v}' for k, v in LAPLACE.items())}}}.items():\n"
        "    fit = lf.fit(formulas, data, family, method='laplace'); fit.stderr\n"
        "    assert not any(name.startswith('tensorflow') for name in sys.modules), family"
    )
    assert loaded_by(code).isdisjoint(TENSORFLOW)


def test_exact_fits_do_not_load_what_only_other_fits_take() -> None:
    code = (
        "import sys, lmeformula as lf; data = lf.datasets.load('sleepstudy')\n"
        "fit = lf.fit('Reaction ~ Days + (Days | Subject)', data)\n"
        "assert fit.converged and not {'scipy.stats', 'scipy.optimize', 'formulaic'} & set(sys.modules)"
    )
    loaded_by(code)


def test_the_command_line_loads_neither_for_an_exact_fit(tmp_path: Path) -> None:
    table = tmp_path / "data.csv"
    table.write_text("y,g\n" + "\n".join(f"{i % 7}.5,{i % 4}" for i in range(40)))
    call = f"from lmeformula.cli import main; main(['fit', {str(table)!r}, 'y ~ 1 + (1|g)'])"
    code = f"import io, contextlib\nwith contextlib.redirect_stdout(io.StringIO()): {call}"
    assert loaded_by(code).isdisjoint(TENSORFLOW | {"matplotlib", "arviz"})
