"""How TensorFlow is imported: quietly, with a cache that outlives the process, no setting overridden."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lmeformula import startup

FIT = """
import sys, time
import numpy as np
import lmeformula as lf
rng = np.random.default_rng(int(sys.argv[1]))
g = np.arange(60) % 10
data = {"g": g, "y": rng.poisson(np.exp(0.5 + 0.5 * rng.normal(size=10)[g]))}
began = time.perf_counter()
fit = lf.fit("y ~ 1 + (1 | g)", data, "poisson", method="mcem", progress=False, tolerance=0.1)
print(fit.outcome.name, time.perf_counter() - began)
"""


def run(cache: Path | str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("TF_CPP_MIN_LOG_LEVEL", "TF_XLA_FLAGS")
    }
    return subprocess.run(
        [sys.executable, "-c", FIT, *arguments],
        env=kept | {"LMEFORMULA_XLA_CACHE": str(cache)} | environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Programs that a first process has kept, and what it printed."""
    kept = tmp_path_factory.mktemp("compiled")
    return kept, run(kept, "1")


def test_a_second_process_finds_the_programs_of_other_data_of_the_same_shape(compiled, tmp_path):
    kept, first = compiled
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    programs = list(tmp_path.glob("*/*.pb"))
    assert len(programs) >= 2  # drawing, and evaluating draws
    largest = max(programs, key=lambda path: path.stat().st_size)
    size, written = largest.stat().st_size, largest.stat().st_mtime_ns
    second = run(tmp_path, "2")
    # The data are arguments of the programs: the large one was found, and neither written again nor anew.
    # (TensorFlow does not order the small one's operations alike in all processes.)
    assert largest.stat().st_mtime_ns == written
    others = [path for path in tmp_path.glob("*/*.pb") if path != largest]
    assert all(path.stat().st_size < 0.5 * size for path in others)
    for done in (first, second):
        assert done.stdout.startswith("CONVERGED")
        assert done.stderr == ""


def test_a_cache_that_cannot_be_used_does_no_harm(monkeypatch, tmp_path):
    place = tmp_path / "file"
    place.write_text("not a directory")
    monkeypatch.setenv(startup.SWITCH, str(place))
    monkeypatch.setenv("TF_XLA_FLAGS", "")
    assert startup.use_persistent_cache() is None
    assert os.environ["TF_XLA_FLAGS"] == ""


@pytest.mark.parametrize(
    ("switch", "flags", "expected"),
    [
        ("off", "", ""),
        ("OFF", "--x=1", "--x=1"),
        ("{}", f"{startup.FLAG}=/elsewhere", f"{startup.FLAG}=/elsewhere"),
        ("{}", "--x=1", f"--x=1 {startup.FLAG}={{}}/"),
        ("{}", "", f"{startup.FLAG}={{}}/"),
        ("{}/with space", "--x=1", "--x=1"),
    ],
)
def test_flags(monkeypatch, tmp_path, switch, flags, expected):
    monkeypatch.setenv(startup.SWITCH, switch.format(tmp_path))
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    found = startup.use_persistent_cache()
    expected = expected.format(tmp_path)
    assert os.environ["TF_XLA_FLAGS"].startswith(expected)
    assert (found is not None) == expected.endswith("/")
    if found is not None:
        assert found.is_dir()
        assert found.parent == tmp_path


def test_old_programs_make_room(monkeypatch, tmp_path):
    monkeypatch.setattr(startup, "MOST_BYTES", 250)
    folder = tmp_path / "kind"
    folder.mkdir()
    for age, name in enumerate(("new", "middle", "old")):
        path = folder / f"{name}.pb"
        path.write_bytes(b"x" * 100)
        os.utime(path, (1e9 - age, 1e9 - age))
    startup._shrink(tmp_path)
    assert sorted(path.stem for path in folder.iterdir()) == ["middle", "new"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"I0000 00:00:1795416882.998104   14795 port.cc:153] oneDNN\n", True),
        (b"E0000 00:00:1 1 cuda_platform.cc:52] failed call to cuInit\n", True),
        (b"WARNING: All log messages before absl::InitializeLog() is called\n", True),
        (b"Error in the user's own code\n", False),
        (b"Warning: something\n", False),
    ],
)
def test_what_is_a_note(line, expected):
    assert startup._is_note(line) is expected


@pytest.mark.parametrize("damage", ["cut", "scrambled", "emptied"])
def test_a_damaged_program_is_compiled_anew(damage, compiled, tmp_path):
    shutil.copytree(compiled[0], tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*/*.pb"):
        content = path.read_bytes()
        changed = {"cut": content[:100], "scrambled": content[::-1], "emptied": b""}[damage]
        path.write_bytes(changed)
    done = run(tmp_path, "2")
    assert done.stdout.startswith("CONVERGED")
    # What was damaged is gone: the next process reads sound programs.
    assert all(path.stat().st_size > 1000 for path in tmp_path.glob("*/*.pb"))


INTERRUPTED = """
import importlib.abc, os, signal, sys
import lmeformula as lf
# A shell that runs tests in its background has them ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupt(importlib.abc.MetaPathFinder):
    # In the middle of the import, and by the thread that imports: another one comes when it comes.
    def find_spec(self, name, path, target=None):
        if name.startswith("tensorflow.python"):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
data = lf.datasets.load("cbpp")
formula, how = "incidence | trials(size) ~ period + (1 | herd)", {"method": "mcem", "progress": False}
try:
    lf.fit(formula, data, "binomial", **how)
except KeyboardInterrupt:
    print("interrupted")
print(lf.fit(formula, data, "binomial", **how).outcome.converged)
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        try:
            lf.fit(formula, data, "binomial", **how)
        except lf.ModelError as error:
            print(error.problem[:23], flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_an_interrupt_during_the_import_waits_for_its_end_and_forks_are_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", INTERRUPTED],
        env=os.environ | {"LMEFORMULA_XLA_CACHE": str(tmp_path)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[:2] == ["interrupted", "True"], done.stderr
    if hasattr(os, "fork"):
        assert lines[2] == "this process was forked"


FIRST = """
import lmeformula as lf
model = lf.compile(lf.design("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff")))
print(len(model.joint.sample()))
"""


def test_whichever_line_imports_tensorflow_first_it_is_quiet(tmp_path):
    kept = {
        k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "TF_XLA_FLAGS")
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST],
        # TensorFlow itself writes notes at this level until its logging has started.
        env=kept | {"LMEFORMULA_XLA_CACHE": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


ASKED = """
import inspect, sys
from lmeformula.family import built_in
from lmeformula.startup import tf, tfp
inspect.unwrap(tf)
print("tensorflow" in sys.modules)
print(tf.Tensor is __import__("tensorflow").Tensor, end=" ")
print("keras" in sys.modules, tf.keras.optimizers.Adam.__module__, end=" ")
print("keras" in sys.modules, tfp.distributions.Normal.__name__)
for name in ("5 out of the last 5 calls to f triggered tf.function retracing", "`_` is not a valid node name"):
    tf.get_logger().warning(name)
tf.get_logger().warning("something else")
"""


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> subprocess.CompletedProcess[str]:
    """What a process said that asked for something of TensorFlow, and had it write notes."""
    return subprocess.run(
        [sys.executable, "-c", ASKED],
        env=dict(os.environ) | {"LMEFORMULA_XLA_CACHE": str(tmp_path_factory.mktemp("asked"))},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )


def test_notes_on_tracing_are_dropped_and_others_are_not(asked):
    assert "something else" in asked.stderr
    assert "tracing" not in asked.stderr
    assert "node name" not in asked.stderr


def test_families_have_tensorflow_once_something_of_it_is_asked_for(asked):
    first, is_same, early, adam, late, normal = asked.stdout.split()
    assert (first, is_same, normal) == ("False", "True", "Normal")
    # Keras comes when it is asked for.
    assert (early, adam, late) == ("False", "keras.src.optimizers.adam", "True")
