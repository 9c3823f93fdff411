"""The demonstration, on the ratings of some students: what it prints, and the pictures it leaves."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

import lmeformula as lf
from lmeformula.cli import main
from lmeformula.demo import CLMM, FORMULA, LME4, Clock, ratings_of_some_students
from tests.reference.read import gaussian_references

PICTURES = [
    "convergence.png",
    "traces-of-seven-instructors.png",
    "residuals-of-held-out-ratings.png",
    "effects.png",
]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Standard output of one run, and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "pictures"
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        status = main(["demo", "--rows", "3000", "--out", str(folder), "--no-progress"])
    assert status == 0
    return stream.getvalue(), folder


def test_shows_formula_graph_and_equation(output):
    text, _ = output
    assert "ratings ~ 1 + service + (1 | students) + (1 | instructors) + (1 | departments)" in text
    assert "ratings_i = intercept" in text
    assert "students ~ Normal(0, stddev_students)" in text


def test_estimates_agree_with_the_exact_fit_of_the_same_rows(output):
    text, _ = output
    assert "Converged" in text
    rows = re.findall(r"^(Intercept|service|sd\(\w+\)|sigma) +(-?\d.*)$", text, re.MULTILINE)
    assert [name for name, _ in rows] == list(LME4.estimates)
    for _, cells in rows:
        estimate, std_error, _, exact, _, distance = cells.split()
        assert abs(float(estimate) - float(exact)) <= 0.01 * float(std_error) + 1e-4
        assert float(distance) < 0.01  # the tolerance of the stop rule, in standard errors


def test_random_effects_help_to_predict_held_out_ratings(output):
    text, _ = output
    names = ("mean rating of the fitted rows", "fixed effects only", "fixed and random effects")
    rmse = [float(re.search(rf"^{name} +([\d.]+)$", text, re.MULTILINE)[1]) for name in names]
    assert rmse[2] < min(rmse[:2])


def test_writes_the_pictures_and_says_where(output):
    text, folder = output
    assert sorted(path.name for path in folder.iterdir()) == sorted(PICTURES)
    for name in PICTURES:
        assert str(folder / name) in text
        assert (folder / name).read_bytes().startswith(b"\x89PNG")


def test_tells_time_and_memory(output):
    text, _ = output
    assert re.search(r"^import of the libraries +\d+\.\d\d$", text, re.MULTILINE)
    assert re.search(r"Peak memory [\d,]+ MiB", text)


def test_an_interrupted_fit_is_shown_and_ends_the_demonstration(monkeypatch, tmp_path, capsys):
    def interrupted(model, **options):
        fit = estimate(model, method="exact")
        return replace(fit, outcome=lf.Outcome.INTERRUPTED)

    estimate = lf.estimate
    monkeypatch.setattr(lf, "estimate", interrupted, raising=False)
    assert main(["demo", "--rows", "2000", "--out", str(tmp_path)]) == 130
    out = capsys.readouterr().out
    assert "Interrupted by the user" in out
    assert "sd(instructors)" in out
    assert "Held-out" not in out
    assert not list(tmp_path.iterdir())


def test_part_of_the_data_has_whole_students():
    data = lf.datasets.load("insteval")
    part = ratings_of_some_students(data, 2000, seed=0)
    assert 2000 <= len(part) < 2100
    counts = part["students"].value_counts()
    counts = counts[counts > 0]
    whole = data["students"].value_counts()
    assert (counts == whole[counts.index]).all()
    other = ratings_of_some_students(data, 2000, seed=1)
    assert set(other["students"].unique()) != set(part["students"].unique())
    assert len(ratings_of_some_students(data, 10**6, seed=0)) == len(data)


def test_clock_keeps_the_stages_in_order():
    clock = Clock()
    with clock("one"):
        pass
    with clock("two"):
        pass
    assert list(clock.seconds) == ["one", "two"]
    assert all(seconds >= 0 for seconds in clock.seconds.values())


def test_the_values_beside_ours_are_the_published_ones():
    published = gaussian_references()["insteval-ml"]
    sds = [component.sd[0] for component in published.components]
    values = [*published.fixed.values(), *sds, published.sigma]
    assert list(LME4.estimates.values()) == pytest.approx(values, abs=1e-8)
    assert list(LME4.std_errors.values()) == pytest.approx(
        list(published.stderr.values()), abs=1e-8
    )
    assert LME4.loglik == pytest.approx(published.loglik, abs=1e-4)


def test_ordinal_demonstration_compares_with_the_gaussian_fit(capsys):
    status = main(["demo", "--family", "cumulative", "--rows", "2000", "--no-progress"])
    assert status == 0
    text = capsys.readouterr().out
    assert "logit(P(ratings_i ≤ k)) = thresholds_k - η_i" in text
    assert "Laplace" in text
    rows = {
        name: [float(cell) for cell in re.findall(r"-?\d+\.\d+", line)]
        for line in text.splitlines()
        for name in ("shares of", "Gaussian fit, between", "ordinal fit  ", "a service", "4|5")
        if line.startswith(name)
    }
    assert sum(rows["a service"]) == pytest.approx(1.0, abs=3e-3)
    # Log score and ranked probability score; beside them the distances from the ordinal fit.
    shares, ordinal = rows["shares of"], rows["ordinal fit  "]
    assert ordinal[0] < shares[0]
    assert ordinal[1] < shares[2]
    assert "Peak memory" in text


def test_the_ordinal_values_beside_ours_are_those_of_the_tests():
    """Names are those of the parameters; numbers are held to ours by a slow test of Laplace fits."""
    model = lf.compile(lf.design(FORMULA, lf.datasets.load("insteval").head(3000)), "cumulative")
    assert set(CLMM.estimates) == set(model.space.names)
