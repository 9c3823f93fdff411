"""The command line: what it prints where, and the exit status it ends with."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.cli import exit_status, main
from tests.checkpoint import resumable_fits as fits
from tests.prediction.fakes import fake_fit
from tests.store.fits import fitted

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "sleepstudy.csv"
    lf.datasets.load("sleepstudy").to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A fit of sleepstudy, its rows kept."""
    return str(fitted("exact").save(tmp_path_factory.mktemp("saved") / "fit.zip", data=True))


def status_of(arguments: list[str]) -> int:
    """The exit status, also where argparse leaves by SystemExit."""
    try:
        return main(arguments)
    except SystemExit as left:
        return int(left.code or 0)


def run(code: str, **options) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root},
        **options,
    )


# ---- parse, datasets, help


def test_parse_explains(capsys):
    assert main(["parse", "y ~ x + (1 | a/b)"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("y ~ 1 + x + (1 | a) + (1 | b:a)\n")
    assert "over b within a" in out
    assert "random    1 | b:a" in out


def test_parse_as_json_can_be_read_back(capsys):
    assert main(["parse", "--json", FORMULA]) == 0
    record = json.loads(capsys.readouterr().out)
    assert lf.Formula.from_dict(record) == lf.parse(FORMULA)


def test_parse_imports_neither_tensorflow_nor_pandas():
    done = run(
        "import sys\n"
        "from lmeformula.cli import main\n"
        "status = main(['parse', 'y ~ x + (1 | g)'])\n"
        "slow = {'tensorflow', 'pandas', 'formulaic', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow\n"
        "sys.exit(status)"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_datasets_are_listed_and_described(capsys):
    assert main(["datasets"]) == 0
    assert "insteval" in capsys.readouterr().out
    assert main(["datasets", "sleepstudy"]) == 0
    assert "180 rows" in capsys.readouterr().out


def test_version_and_help(capsys):
    assert status_of(["--version"]) == 0
    assert capsys.readouterr().out == f"lmeformula {lf.__version__}\n"
    assert status_of(["--help"]) == 0
    out = capsys.readouterr().out
    assert 'lmeformula fit data.csv "Reaction' in out
    assert "exit status" in out


# ---- mistakes: status 2, a message of ours on standard error, nothing on standard output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["destroy"], "invalid choice"),
        (["demo", "--rows", "none"], "'none' is not a positive whole number"),
        (["demo", "--rows", "0"], "'0' is not a positive whole number"),
        (["fit", "data.csv"], "FORMULA"),
        (["parse", "y ~ (1 |)"], "^"),
        (["datasets", "sleepstudi"], "sleepstudy"),
        (["fit", "no-such-file.csv", FORMULA], "cannot read no-such-file.csv: No such file"),
        (["fit", "DATA", "Reaction ~ Dayz + (1 | Subject)"], "'Days'"),
        (["fit", "DATA", FORMULA, "--family", "gausian"], "no family 'gausian'"),
        (["fit", "DATA", FORMULA, "--method", "magic"], "method is 'magic'"),
        (["fit", "DATA", FORMULA, "--sigma", "-1"], "sigma"),
        (["fit", "DATA", FORMULA, "--out", "DATA/below"], "Not a directory"),
        (["fit", "DATA", FORMULA, "--weights", "w"], "'w'"),
        (["fit", "DATA", FORMULA, "--method", "mcem", "--reml"], "restricted"),
        (["predict", "no-such.zip", "DATA"], "no-such.zip: No such file"),
        (["predict", "DATA", "DATA"], "is not a saved fit"),
        (["predict", "SAVED", "no-such.csv"], "cannot read no-such.csv: No such file"),
        (["predict", "SAVED", "OTHER"], "'Subject'"),
        (["predict", "SAVED", "NEW"], "levels that the fit has not seen"),
        (["predict", "SAVED", "DATA", "--kind", "prob"], "no categories"),
        (["predict", "SAVED", "DATA", "--kind", "mean"], "invalid choice: 'mean'"),
        (["predict", "SAVED", "DATA", "--out", "DATA/below"], "Not a directory"),
        (["report", "SAVED"], "OUT.html"),
        (["report", "DATA", "page.html"], "is not a saved fit"),
        (["report", "SAVED", "DATA/below", "--no-progress"], "Not a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(arguments, message, sleepstudy, saved, capsys):
    folder = Path(saved).parent
    (folder / "other.csv").write_text("Days\n1\n")
    (folder / "new.csv").write_text("Days,Subject\n1,999\n")
    names = {"DATA": sleepstudy, "SAVED": saved, "OTHER": "other.csv", "NEW": "new.csv"}
    names |= {name: str(folder / names[name]) for name in ("OTHER", "NEW")}
    for name, path in names.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    assert status_of(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n4,5,6,7\n"])
def test_a_file_that_is_no_table(text, tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    assert main(["fit", str(path), "a ~ b"]) == 2
    assert f"cannot read {path}" in capsys.readouterr().err


def test_a_wrong_formula_shows_before_the_data_are_read(capsys):
    assert main(["fit", "no-such-file.csv", "y ~ (1 |)"]) == 2
    assert "no-such-file" not in capsys.readouterr().err


# ---- fits


def test_fit_prints_the_summary_with_known_estimates(sleepstudy, capsys):
    assert main(["fit", sleepstudy, FORMULA]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Converged")
    for known in ("251.41", "10.47", "23.78", "0.08", "-875.97"):  # lme4's
        assert known in captured.out
    assert captured.err == ""


def test_fit_reads_standard_input(sleepstudy, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(sleepstudy).read_bytes())))
    assert main(["fit", "-", FORMULA]) == 0
    assert "251.41" in capsys.readouterr().out


def test_fit_writes_its_report(sleepstudy, tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    assert main(["fit", sleepstudy, FORMULA, "--out", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "effects-Subject.png",
        "effects.csv",
        "fit.zip",
        "residuals.png",
        "summary.txt",
        "tidy.csv",
    ]
    assert "251.41" in (folder / "summary.txt").read_text()
    with (folder / "effects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert float(rows[0]["value"]) == pytest.approx(2.8158, abs=1e-3)  # lme4's ranef for 308
    parameters = pd.read_csv(folder / "tidy.csv").set_index(["effect", "term"])
    assert parameters.loc[("fixed", "Days"), "estimate"] == pytest.approx(10.4672859596)
    assert str(folder) in capsys.readouterr().out


def test_fit_reads_parquet_from_a_file_and_from_standard_input(tmp_path, monkeypatch, capsys):
    path = tmp_path / "sleepstudy.parquet"
    lf.datasets.load("sleepstudy").to_parquet(path)
    assert main(["fit", str(path), FORMULA]) == 0
    first = capsys.readouterr().out
    assert "251.41" in first
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert main(["fit", "-", FORMULA]) == 0
    assert capsys.readouterr().out == first
    path.write_bytes(path.read_bytes()[:500])
    assert main(["fit", str(path), FORMULA]) == 2
    assert f"cannot read {path}" in capsys.readouterr().err


def test_fit_reads_compressed_csv_by_its_name(tmp_path, capsys):
    path = tmp_path / "sleepstudy.csv.gz"
    lf.datasets.load("sleepstudy").to_csv(path, index=False)
    assert main(["fit", str(path), FORMULA]) == 0
    assert "251.41" in capsys.readouterr().out


def test_without_pyarrow_a_parquet_file_says_what_to_install(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 and more")

    def absent(*given):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", absent)
    assert main(["fit", str(path), FORMULA]) == 2
    assert "pip install lmeformula[polars]" in capsys.readouterr().err


def test_reml_weights_and_offset_are_passed_on(tmp_path, capsys):
    path = tmp_path / "data.csv"
    data = lf.datasets.load("sleepstudy").assign(w=2.0, o=100.0)
    data.to_csv(path, index=False)
    given = ["--reml", "--weights", "w", "--offset", "o"]
    assert main(["fit", str(path), "Reaction ~ Days + (Days | Subject)", *given]) == 0
    out = capsys.readouterr().out
    assert "151.41" in out  # the intercept, less the offset
    assert (
        "24.74" in out
    )  # lme4's REML estimate for the subjects' intercepts, whatever the weights' scale
    assert "36.19" in out  # sqrt(2) times its residual sd
    assert "restricted" in out


def test_a_frequency_is_passed_on(tmp_path, capsys):
    path = tmp_path / "data.csv"
    lf.datasets.load("sleepstudy").assign(n=3).to_csv(path, index=False)
    assert main(["fit", str(path), "Reaction ~ Days + (Days | Subject)", "--frequency", "n"]) == 0
    assert "180, which stand for 540 observations" in capsys.readouterr().out


# ---- predictions and reports from a saved fit


def test_predict_adds_a_column_to_the_new_rows(saved, sleepstudy, tmp_path, capsys):
    fit = fitted("exact")
    new = pd.read_csv(sleepstudy).iloc[::40]
    new.to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", saved, str(tmp_path / "new.csv")]) == 0
    captured = capsys.readouterr()
    found = pd.read_csv(io.StringIO(captured.out))
    assert list(found) == ["Reaction", "Days", "Subject", "prediction"]
    assert found["prediction"].tolist() == fit.fitted().iloc[::40].tolist()
    assert captured.err == ""
    out = tmp_path / "out.csv"
    assert (
        main(["predict", saved, str(tmp_path / "new.csv"), "--re-form", "NA", "--out", str(out)])
        == 0
    )
    assert capsys.readouterr().out == ""
    expected = fit.predict(re_form="NA").iloc[::40].tolist()
    assert pd.read_csv(out)["prediction"].tolist() == expected


def test_predict_reads_standard_input_and_new_levels(saved, monkeypatch, capsys):
    text = b"Days,Subject\n1,999\n,308\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["predict", saved, "-", "--new-levels", "population"]) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    fixef = fitted("exact").fixef
    assert found["prediction"][0] == pytest.approx(fixef.sum())
    assert pd.isna(found["prediction"][1])


def test_predict_gives_probabilities_by_category(tmp_path, capsys):
    path = fitted("cumulative").save(tmp_path / "fit.zip")
    (tmp_path / "new.csv").write_text("x,g\n0.5,g1\n")
    assert main(["predict", str(path), str(tmp_path / "new.csv"), "--kind", "prob"]) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(found) == ["x", "g", "low", "fair", "good", "best"]
    assert found.iloc[0, 2:].sum() == pytest.approx(1.0)


def test_report_writes_one_page(saved, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["report", saved, str(page)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"Written: {page}\n"
    assert "lmeformula: drawing Residuals\n" in captured.err
    assert "251.41" in page.read_text(encoding="utf-8")
    assert main(["report", saved, str(page), "--no-progress"]) == 0
    assert capsys.readouterr().err == ""


def test_data_are_kept_in_the_saved_fit_when_asked(sleepstudy, tmp_path):
    for option, is_kept in ([], False), (["--keep-data"], True):
        assert main(["fit", sleepstudy, FORMULA, "--out", str(tmp_path), *option]) == 0
        loaded = lf.load(tmp_path / "fit.zip")
        if is_kept:
            assert len(loaded.residuals()) == 180
        else:
            with pytest.raises(lf.ModelError, match="without the rows"):
                loaded.residuals()


@pytest.mark.parametrize("command", ["fit", "predict", "report"])
def test_every_command_helps_with_examples(command, capsys):
    assert status_of([command, "--help"]) == 0
    assert f"examples:\n  lmeformula {command} " in capsys.readouterr().out


def test_a_checkpoint_is_gone_on_with(sleepstudy, tmp_path, capsys):
    command = ["fit", sleepstudy, FORMULA, "--checkpoint", str(tmp_path / "kept")]
    with fits.killed_at(3), pytest.raises(fits.Killed):
        main(command)
    assert main([*command, "--reml"]) == 2
    assert "reml was False, and is True" in capsys.readouterr().err
    assert main(command) == 0
    assert "251.41" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
    assert main(["fit", sleepstudy, FORMULA, "--checkpoint", sleepstudy]) == 2
    assert f"the checkpoint {sleepstudy} is no folder" in capsys.readouterr().err


def test_fixed_sigma_is_passed_on(sleepstudy, capsys):
    assert main(["fit", sleepstudy, "Reaction ~ Days + (1 | Subject)", "--sigma", "30"]) == 0
    assert "The residual sd is fixed at 30." in capsys.readouterr().out


def test_warnings_are_plain_lines_on_standard_error(sleepstudy):
    # In a process of its own: the tests turn warnings into errors.
    code = (
        "import sys\n"
        "from lmeformula.cli import main\n"
        f"sys.exit(main(['fit', {sleepstudy!r}, 'Reaction ~ Days + I(2 * Days) + (1 | Subject)']))"
    )
    done = run(code)
    assert done.returncode == 0
    assert done.stderr.startswith("lmeformula: warning: the fixed-effects matrix has rank 2")
    assert ".py" not in done.stderr


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("CONVERGED", 0), ("ITERATIONS_EXHAUSTED", 1), ("NONFINITE", 1), ("INTERRUPTED", 130)],
)
def test_exit_status_of_outcomes(outcome, status):
    assert exit_status(fake_fit(outcome=lf.Outcome[outcome])) == status


# ---- pipes and interruptions


def test_a_reader_that_leaves_early_is_no_error():
    # 193 bytes each: more than a pipe of 64 KiB and the reader's own buffer hold.
    code = (
        "import sys\n"
        "from lmeformula.cli import main\n"
        "status = 0\n"
        "for _ in range(800):\n"
        "    status = status or main(['parse', 'y ~ x + (1 | g)'])\n"
        "sys.exit(status)"
    )
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.readline()
        writer.stdout.close()
        errors = writer.stderr.read()
        assert (writer.wait(timeout=120), errors) == (0, b"")


def shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line of the shell, where `lmeformula` is the command line."""
    root = str(Path(__file__).parents[1])
    program = f'lmeformula() {{ {sys.executable} -m lmeformula "$@"; }}; '
    return subprocess.run(
        ["sh", "-c", program + command],
        cwd=folder,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root, **environment},
    )


def test_an_output_of_ascii_takes_every_letter(tmp_path):
    found = shell("lmeformula parse 'y ~ größe + (1 | g)'", tmp_path, PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert rb"gr\xf6\xdfe" in found.stdout
    assert b"Traceback" not in found.stderr


def test_a_csv_is_utf8_whatever_the_terminal_shows(saved, tmp_path):
    (tmp_path / "new.csv").write_text("Days,Subject,größe\n1,308,ä\n", encoding="utf-8")
    command = f"lmeformula predict '{saved}' new.csv"
    found = shell(command, tmp_path, PYTHONIOENCODING="ascii")
    assert found.returncode == 0, found.stderr
    assert found.stdout.decode().startswith("Days,Subject,größe,prediction\n1,308,ä,")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_error(closed, tmp_path):
    found = shell(f"lmeformula parse 'y ~ x + (1 | g)' {closed}", tmp_path)
    assert (found.returncode, found.stderr) == (0, b"")
    assert shell(f"lmeformula parse 'y ~ (' {closed}", tmp_path).returncode == 2


def test_the_next_file_does_not_become_a_closed_stream(saved, tmp_path):
    (tmp_path / "new.csv").write_text("Days,Subject\n1,308\n")
    command = f"lmeformula predict '{saved}' new.csv --out out.csv >&- 2>&- <&-"
    assert shell(command, tmp_path).returncode == 0
    assert (tmp_path / "out.csv").read_text().startswith("Days,Subject,prediction\n1,308,")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_named(saved, tmp_path):
    (tmp_path / "new.csv").write_text("Days,Subject\n1,308\n")
    for command, where in (
        ("parse 'y ~ x' > /dev/full", b"standard output"),
        (f"predict '{saved}' new.csv > /dev/full", b"standard output"),
        (f"predict '{saved}' new.csv --out /dev/full", b"/dev/full"),
    ):
        found = shell(f"lmeformula {command}", tmp_path)
        assert found.returncode == 2
        assert found.stderr == b"lmeformula: " + where + b": No space left on device\n"


def test_columns_of_one_name_are_not_told_apart_in_silence(tmp_path, capsys):
    rows = "".join(f"{(7 * i) % 11},{i},{i % 5},{i % 4}\n" for i in range(20))
    (tmp_path / "twice.csv").write_text("y,x,x,g\n" + rows)
    assert main(["fit", str(tmp_path / "twice.csv"), "y ~ x + (1 | g)"]) == 2
    assert "2 columns named 'x'" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "twice.csv"), "y ~ 1 + (1 | g)"]) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "No columns to parse"),
        (b"y,x,g\n", "the data has no rows"),
        ("y,größe,g\n1,2,3\n".encode("utf-16"), "in the encoding UTF-8"),
        (b"y,x,g\n1,2\n3,4,5,6,7\n", "Expected 3 fields"),
    ],
)
def test_a_file_without_rows_or_of_another_encoding(content, words, tmp_path, capsys):
    (tmp_path / "data.csv").write_bytes(content)
    assert main(["fit", str(tmp_path / "data.csv"), "y ~ x + (1 | g)"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("lmeformula: ")
    (tmp_path / "x.csv").mkdir()
    assert main(["fit", str(tmp_path / "x.csv"), "y ~ x + (1 | g)"]) == 2
    assert "x.csv: Is a directory" in capsys.readouterr().err


@pytest.fixture
def heard_interrupts():
    """SIGINT as in a terminal: a process that a shell started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_is_a_line_and_status_130(monkeypatch, capsys, heard_interrupts):
    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)  # another thread may take the signal: wait for the main one to hear of it

    monkeypatch.setattr(lf, "fit", interrupted, raising=False)
    monkeypatch.setattr("lmeformula.cli.read_table", lambda *source: pd.DataFrame())
    assert main(["fit", "data.csv", FORMULA]) == 130
    captured = capsys.readouterr()
    assert captured.err == "lmeformula: interrupted\n"
    assert captured.out == ""


def test_python_m_runs_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "lmeformula", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.split() == ["lmeformula", lf.__version__]


def test_degrees_of_freedom_are_chosen(sleepstudy, capsys):
    for ddf, said in (
        ("auto", "Satterthwaite"),
        ("none", " z "),
        ("kenward-roger", "Kenward-Roger"),
    ):
        assert main(["fit", sleepstudy, FORMULA, "--reml", "--ddf", ddf]) == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(("mark", "decimal"), [(";", ","), ("\t", "."), ("|", ".")])
def test_columns_apart_by_other_marks(mark, decimal, tmp_path, capsys):
    data = lf.datasets.load("sleepstudy")
    path = tmp_path / "data.csv"
    data.to_csv(path, index=False, sep=mark, decimal=decimal)
    assert main(["fit", str(path), FORMULA]) == 2
    assert "--sep" in capsys.readouterr().err
    typed = "\\t" if mark == "\t" else mark
    assert main(["fit", str(path), FORMULA, "--sep", typed, "--decimal", decimal]) == 0
    assert "251.41" in capsys.readouterr().out


def test_predictions_have_intervals(sleepstudy, tmp_path, capsys):
    assert main(["fit", sleepstudy, FORMULA, "--out", str(tmp_path), "--keep-data"]) == 0
    capsys.readouterr()
    command = ["predict", str(tmp_path / "fit.zip"), sleepstudy, "--interval", "prediction"]
    assert main([*command, "--level", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("estimate,lower,upper")
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert float(first["lower"]) < float(first["estimate"]) < float(first["upper"])
