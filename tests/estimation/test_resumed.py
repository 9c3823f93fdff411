"""Fits that are killed and started again end at the same bits, and go on with nothing but themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.checkpoint import journal, surroundings
from lmeformula.em import iteration
from lmeformula.errors import CheckpointError, LmeFormulaWarning
from tests.checkpoint import resumable_fits as fits

# Methods that need no TensorFlow, which takes seconds; the others are in tests/slow.txt, but for one.
LIGHT = [name for name in fits.CASES if not name.startswith("mcem")]


@pytest.fixture(scope="module")
def whole() -> dict[str, tuple[dict[str, str], int]]:
    """By case, the bits of a fit that nobody killed, and how many entries its journal has."""
    return {}


def _whole(
    name: str, known: dict[str, tuple[dict[str, str], int]], folder: Path
) -> tuple[dict[str, str], int]:
    if name not in known:
        with fits.killed_at(-1) as entered:
            fit = fits.CASES[name](checkpoint=folder)
        assert fit.resumed is None
        assert not folder.exists()
        expected = fits.bits(fits.CASES[name]())
        assert fits.bits(fit) == expected
        known[name] = expected, len(entered)
    return known[name]


def _killed(name: str, place: int, folder: Path) -> None:
    with fits.killed_at(place), pytest.raises(fits.Killed):
        fits.CASES[name](checkpoint=folder)


@pytest.mark.parametrize("name", fits.CASES)
def test_killed_after_some_entries(
    name: str, whole: dict[str, tuple[dict[str, str], int]], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    expected, count = _whole(name, whole, folder)
    for place in {1, max(1, count // 2), count}:
        _killed(name, place, folder)
        fit = fits.CASES[name](checkpoint=folder)
        assert fits.bits(fit) == expected
        assert fit.resumed is not None
        assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", fits.CASES)
def test_killed_after_any_entry(
    name: str, whole: dict[str, tuple[dict[str, str], int]], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    expected, count = _whole(name, whole, folder)
    for place in range(1, count + 1, max(1, count // 50)):
        _killed(name, place, folder)
        assert fits.bits(fits.CASES[name](checkpoint=folder)) == expected


@pytest.mark.parametrize("name", ["exact", "quadrature"])
def test_killed_again_and_again(
    name: str, whole: dict[str, tuple[dict[str, str], int]], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    expected, count = _whole(name, whole, folder)
    for _ in range(count):
        _killed(name, 1, folder)
    fit = fits.CASES[name](checkpoint=folder)
    assert fits.bits(fit) == expected
    assert fit.resumed is not None


def _in_earnest(name: str, kills: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, fits.__file__, name, str(kills), "7", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_killed_in_earnest(tmp_path: Path) -> None:
    found = _in_earnest("laplace", 5, tmp_path / "folder")
    assert found["bits"] == fits.bits(fits.CASES["laplace"]())
    assert not found["is_there"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kills"), [(name, 50 if name in LIGHT else 6) for name in fits.CASES]
)
def test_killed_in_earnest_at_many_moments(name: str, kills: int, tmp_path: Path) -> None:
    found = _in_earnest(name, kills, tmp_path / "folder")
    assert found["bits"] == fits.bits(fits.CASES[name]())
    assert found["num_left"] > kills // 5
    assert not found["is_there"]


def _left(folder: Path, name: str = "exact") -> None:
    _killed(name, 3, folder)


SLEEP = {"formula": fits.SLOPES, "data": lf.datasets.load("sleepstudy"), "progress": False}
MOVED = SLEEP["data"].assign(Reaction=SLEEP["data"]["Reaction"] + 1e-13)
TURNED = SLEEP["data"].assign(Days=SLEEP["data"]["Days"][::-1].to_numpy())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed was 0, and is 1"),
        ({"reml": True}, "reml was False, and is True"),
        ({"tolerance": 0.02}, "tolerance was 0.01, and is 0.02"),
        ({"max_iterations": 7}, "max_iterations was 200, and is 7"),
        ({"solver": "iterative"}, "solver was direct, and is iterative"),
        ({"sigma": 20.0}, "the fixed sigma was None, and is 20"),
        ({"data": MOVED}, "the response is another"),
        ({"data": TURNED}, "the data of the fixed effects is another"),
        ({"data": SLEEP["data"][:-1]}, "the number of rows was 180, and is 179"),
        (
            {"formula": "Reaction ~ Days + (1|Subject)"},
            "the formula was Reaction ~ .* Days.*, and is",
        ),
        ({"weights": np.full(180, 2.0)}, "the weights is another"),
        ({"offset": np.full(180, 2.0)}, "the offset is another"),
        ({"method": "mcem"}, "method was exact, and is mcem"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_fit_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    _left(folder)
    with pytest.raises(CheckpointError, match=words):
        lf.fit(**(SLEEP | changes), checkpoint=folder)
    assert lf.fit(**SLEEP, checkpoint=folder).resumed is not None


@pytest.mark.parametrize(
    ("part", "words"),
    [("version", "numpy was .*, and is 0.0"), ("_processor", "the processor was")],
)
def test_another_version_is_refused(part: str, words: str, tmp_path: Path) -> None:
    _left(tmp_path)
    with (
        mock.patch.object(surroundings, part, return_value="0.0"),
        pytest.raises(CheckpointError, match=words),
    ):
        lf.fit(**SLEEP, checkpoint=tmp_path)


def test_another_source_is_refused(tmp_path: Path) -> None:
    _left(tmp_path)
    with (
        mock.patch.object(surroundings, "_code", return_value="0" * 32),
        pytest.raises(CheckpointError, match="the version of lmeformula is another"),
    ):
        lf.fit(**SLEEP, checkpoint=tmp_path)


def test_a_family_of_ones_own_is_known_by_its_density(tmp_path: Path) -> None:
    tfp = pytest.importorskip("tensorflow_probability")

    def fit(share: float) -> lf.Fit:
        mine = lf.Family("mine", lambda mean: tfp.distributions.Normal(share * mean, 30.0))
        return lf.fit(**SLEEP, family=mine, method="laplace", checkpoint=tmp_path)

    with fits.killed_at(3), pytest.raises(fits.Killed):
        fit(1.0)
    with pytest.raises(CheckpointError, match="the density of the family is another"):
        fit(0.5)
    assert fit(1.0).resumed.num_evaluations == 3


def test_other_bits_are_refused(tmp_path: Path) -> None:
    """As of a machine whose likelihood has another last digit."""
    from lmeformula.likelihood.gaussian import exact

    _left(tmp_path)
    known = exact.log_likelihood_of
    with (
        mock.patch.object(
            exact, "log_likelihood_of", lambda *given: np.nextafter(known(*given), 0)
        ),
        pytest.raises(CheckpointError, match="does not come to the bits that the checkpoint has"),
    ):
        lf.fit(**SLEEP, checkpoint=tmp_path)


def test_a_mistake_shows_before_the_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(lf.CheckpointError, match="is no folder"):
        lf.fit("y ~ x + (1|g)", None, checkpoint=tmp_path / "file")
    with pytest.raises(lf.ModelError, match="checkpoint is 3"):
        lf.fit(**SLEEP, checkpoint=3)


def test_a_model_that_cannot_be_fitted_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(lf.ModelError):
        lf.fit(**SLEEP, method="laplace", reml=True, checkpoint=tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_full_disk_does_not_end_the_fit(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device", "a")
    with (
        fits.written_at_once(),
        mock.patch.object(journal, "write_tree", side_effect=full),
        pytest.warns(LmeFormulaWarning, match="No space left on device"),
    ):
        fit = lf.fit(**SLEEP, checkpoint=tmp_path / "folder")
    assert fits.bits(fit) == fits.bits(lf.fit(**SLEEP))
    assert not (tmp_path / "folder").exists()


def test_a_damaged_file_costs_what_follows_it(tmp_path: Path) -> None:
    _left(tmp_path)
    last = max(tmp_path.glob("*.npz"))
    last.write_bytes(last.read_bytes()[:-3])
    with pytest.warns(LmeFormulaWarning, match="is damaged. The fit goes on from"):
        fit = lf.fit(**SLEEP, checkpoint=tmp_path)
    assert fits.bits(fit) == fits.bits(lf.fit(**SLEEP))
    assert fit.resumed.num_evaluations == 2


def test_an_interrupted_ascent_leaves_its_checkpoint(tmp_path: Path) -> None:
    with (
        mock.patch.object(fits, "Killed", KeyboardInterrupt),
        fits.killed_at(3),
        pytest.raises(KeyboardInterrupt),
    ):
        lf.fit(**SLEEP, checkpoint=tmp_path)
    assert lf.fit(**SLEEP, checkpoint=tmp_path).resumed.num_evaluations == 3


def test_an_interrupted_run_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    """Ctrl-C gives a fit, and leaves the checkpoint of one that was not stopped."""
    run = fits.CASES["mcem, gaussian"]
    look, calls = iteration.look, 0

    def interrupted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return look(*given)

    with mock.patch.object(iteration, "look", interrupted):
        stopped = run(checkpoint=tmp_path)
    assert stopped.outcome is lf.Outcome.INTERRUPTED
    assert len(stopped.iterations) == 3
    fit = run(checkpoint=tmp_path)
    assert fit.resumed.num_iterations == 4
    assert fits.bits(fit) == fits.bits(run())


def test_says_from_where_it_went_on(tmp_path: Path) -> None:
    _left(tmp_path / "folder")
    fit = lf.fit(**SLEEP, checkpoint=tmp_path / "folder")
    assert fit.resumed[:2] == (3, 0)
    assert "resumed      from a checkpoint, after 3 evaluations, which had" in str(fit.diagnostics)
    assert lf.load(fit.save(tmp_path / "fit.zip")).resumed == fit.resumed


def test_estimate_takes_one_too(tmp_path: Path) -> None:
    model = lf.compile(lf.design(SLEEP["formula"], SLEEP["data"]))
    with fits.killed_at(3), pytest.raises(fits.Killed):
        lf.estimate(model, checkpoint=tmp_path)
    fit = lf.estimate(model, checkpoint=tmp_path)
    assert fit.resumed.num_evaluations == 3
    assert fits.bits(fit) == fits.bits(lf.estimate(model))


def test_a_short_fit_writes_next_to_nothing(tmp_path: Path) -> None:
    with mock.patch.object(journal, "write_tree") as writes:
        lf.fit(**SLEEP, checkpoint=tmp_path / "folder")
    assert not writes.called
