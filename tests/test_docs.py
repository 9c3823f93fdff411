"""What the documents show is run: README's Python and commands, what is in examples/, and the site's pages.

In README.md a ```python block is executed, the blocks one after the other in one namespace; one with
`>>>` prompts is a doctest. In a ```console block every `$ lmeformula ...` line is run, and where output is
shown it must come; `$ make TARGET` must name a target. Outputs may use `...`. Scripts and blocks see
LMEFORMULA_QUICK=1, which a heavy example may heed by taking fewer rows.
"""

from __future__ import annotations

import doctest
import importlib
import operator
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lmeformula as lf
from lmeformula.arguments.elsewhere import IN_R, OF_A_FIT, OF_THE_PACKAGE
from lmeformula.arguments.methods import Method

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SESSIONS = sorted((ROOT / "examples").glob("*.md"))
SITE = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs" / "pages").glob("*.md"))
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text: str, language: str) -> list[tuple[int, str]]:
    """(line number, content) of the fenced blocks of one language."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, m.start(1)) + 1, m[1]) for m in pattern.finditer(text)]


def commands(block: str) -> list[tuple[str, str]]:
    """(command, expected output) of a console block; a backslash continues a command."""
    found: list[tuple[str, str]] = []
    joined = block.replace("\\\n", " ")
    for line in joined.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            command, output = found[-1]
            found[-1] = command, f"{output}{line}\n"
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An empty folder to work in and the environment of a quick run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LMEFORMULA_QUICK", "1")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "NO_COLOR": "1"}


def run_python_blocks(text: str, origin: str) -> None:
    names: dict[str, object] = {"__name__": "__readme__"}
    for line, code in blocks(text, "python"):
        if ">>>" in code:
            test = doctest.DocTestParser().get_doctest(code, names, origin, origin, line - 1)
            runner = doctest.DebugRunner(optionflags=OPTIONS)
            runner.run(test, clear_globs=False)
            names.update(test.globs)
        else:
            exec(compile("\n" * (line - 1) + code, origin, "exec"), names)


def run_command(command: str, expected: str, environment: dict[str, str]) -> None:
    words = shlex.split(command)
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
    if expected.strip():
        same = doctest.OutputChecker().check_output(expected, done.stdout, OPTIONS)
        assert same, f"$ {command}\nexpected:\n{expected}\nprinted:\n{done.stdout}"


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def test_readme(quick: dict[str, str]) -> None:
    text = README.read_text(encoding="utf-8")
    assert blocks(text, "python")
    run_python_blocks(text, "README.md")  # first: the commands may use files that these write
    shown = [c for _, block in blocks(text, "console") for c in commands(block)]
    assert {"make demo", "make test", "pip install ."} <= {command for command, _ in shown}
    for command, expected in shown:
        if command.startswith("lmeformula ") and command != "lmeformula demo":
            run_command(command, expected, quick)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_shown_is_a_target(name: str) -> None:
    shown = re.findall(r"\bmake ([a-z-]+)`|^\$ make ([a-z-]+)$", (ROOT / name).read_text(), re.M)
    targets = {first or second for first, second in shown}
    assert targets
    assert targets <= make_targets()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_paths_shown_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    local = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    quoted = re.findall(r"`((?:lmeformula|grammar|tests|examples|benchmarks|\.ci)/[\w./-]*)`", text)
    for target in [*local, *quoted]:
        assert (ROOT / target).exists(), f"{name} mentions {target}"


def test_the_tutorial_is_there_and_short() -> None:
    tutorial = ROOT / "examples" / "insteval_tutorial.py"
    assert tutorial in EXAMPLES
    assert len(tutorial.read_text(encoding="utf-8").splitlines()) < 80


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda path: path.name)
def test_example(script: Path, quick: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=quick)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.name)
def test_session(session: Path, quick: dict[str, str]) -> None:
    text = session.read_text(encoding="utf-8")
    assert blocks(text, "python")
    run_python_blocks(text, session.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_page(page: Path, quick: dict[str, str]) -> None:
    run_python_blocks(page.read_text(encoding="utf-8"), page.name)


def test_every_page_is_in_the_navigation() -> None:
    assert sorted(re.findall(r": (\w+\.md)$", SITE, re.M)) == [page.name for page in PAGES]


def test_what_pages_include_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r'^--8<-- "(.*)"$', page.read_text(encoding="utf-8"), re.M):
            path, _, part = name.partition(":")
            text = (ROOT / path).read_text(encoding="utf-8")
            if part and not part.endswith(":"):
                for edge in ("start", "end"):
                    assert text.count(f"--8<-- [{edge}:{part}]") == 1, f"{page.name}: {name}"


def rows(text: str) -> dict[str, str]:
    """First cell -> second cell of tables with two columns, whose first is code."""
    found = re.findall(r"^\| `([^`|]+)` \| ((?:[^|\n]|\\\|)+) \|$", text, re.M)
    return {first: second.replace("\\|", "|") for first, second in found}


def test_words_of_other_packages_are_answered_as_their_page_says() -> None:
    text = (ROOT / "docs" / "pages" / "elsewhere.md").read_text(encoding="utf-8")
    assert rows(text) == OF_A_FIT | OF_THE_PACKAGE
    functions = re.search(r"^These of R are functions here, too: (.*)\.$", text, re.M)
    assert functions
    assert set(re.findall(r"`lf\.(\w+)`", functions[1])) == IN_R


def headings(name: str) -> dict[str, str]:
    """Heading -> what it documents, on a page of the reference."""
    text = (ROOT / "docs" / "pages" / name).read_text(encoding="utf-8")
    found = re.findall(r'^::: ([\w.]+)\n    options: { heading: "([^"]+)"', text, re.M)
    assert len(found) == text.count(":::")
    return {heading: documented for documented, heading in found}


def object_at(path: str) -> object:
    """What is documented, a module or what stands in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def test_the_reference_has_every_public_name() -> None:
    shown = headings("api.md")
    public = {name for name in lf.__all__ if not name.endswith(("Error", "Errors", "Warning"))}
    spaces = {"em": set(lf.em.__all__) - {"Outcome"}, "datasets": set(lf.datasets.__all__)}
    expected = {f"lf.{name}" for name in public - spaces.keys() - {"Fit"}} | {"lf.errors"}
    expected |= {f"lf.{space}.{name}" for space, names in spaces.items() for name in names}
    assert shown.keys() >= expected
    for heading, path in shown.items():
        assert object_at(path) is operator.attrgetter(heading.removeprefix("lf."))(lf), heading


def test_the_reference_has_every_method_of_a_fit() -> None:
    shown = headings("fit.md")
    methods = {name for name, value in vars(lf.Fit).items() if isinstance(value, Method)}
    assert {
        f"fit.{name}" for name in methods | {"anova", "certificate", "diagnostics"}
    } < shown.keys()
    for heading, path in shown.items():
        assert object_at(path).__doc__, heading


def test_every_part_after_the_fit_has_an_example() -> None:
    names = {path.name for path in [*EXAMPLES, *SESSIONS]}
    parts = {"reading", "predicting", "comparing", "doubting", "marginal_means", "handing_on"}
    assert {*(f"{part}.py" for part in parts), "command_line.py", "repl_session.md"} <= names


def test_a_wrong_readme_fails(quick: dict[str, str]) -> None:
    with pytest.raises(doctest.DocTestFailure):
        run_python_blocks("```python\n>>> 1 + 1\n3\n```\n", "wrong.md")
    with pytest.raises(NameError):
        run_python_blocks("```python\nnot_defined\n```\n", "wrong.md")
    with pytest.raises(AssertionError, match="expected"):
        run_command("this", "a quotation\n", quick)
    with pytest.raises(AssertionError, match="No module named"):
        run_command("lmeformula_absent parse", "", quick)


def test_console_blocks_are_read() -> None:
    block = "$ lmeformula parse \\\n    'y ~ x'\nresponse y\n$ make test\n"
    assert commands(block) == [("lmeformula parse      'y ~ x'", "response y\n"), ("make test", "")]
