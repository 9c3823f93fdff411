"""The command line: `lmeformula demo | fit | predict | report | parse | datasets`; thin, over the package."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lmeformula as lf
from lmeformula.errors import LmeFormulaError, LmeFormulaWarning
from lmeformula.files import write_whole
from lmeformula.formula.show import dump
from lmeformula.reading import read_table
from lmeformula.streams import drop_output, open_streams, write_utf8

# Arguments of several commands.
SAVED_FIT: dict[str, Any] = {"type": Path, "metavar": "FIT.zip", "help": "what fit --out has saved"}
FORMULA: dict[str, Any] = {"metavar": "FORMULA", "help": 'in quotes: "y ~ x + (1 | g)"'}
SEP: dict[str, Any] = {
    "type": lambda text: text.encode().decode("unicode_escape"),  # as "\\t" is typed
    "default": ",",
    "metavar": "MARK",
    "help": "what columns of a CSV file are apart by (%(default)s)",
}
DECIMAL: dict[str, Any] = {
    "default": ".",
    "metavar": "MARK",
    "help": "its decimal mark (%(default)s)",
}
SEED: dict[str, Any] = {"type": int, "default": 0, "help": "of the random numbers (%(default)s)"}
NO_PROGRESS: dict[str, Any] = {
    "dest": "progress",
    "action": "store_false",
    "help": "show no progress",
}

FINE, NOT_CONVERGED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

FIT_EXAMPLES = """examples:
  lmeformula fit data.csv "Reaction ~ Days + (Days | Subject)"
  lmeformula fit data.parquet "y ~ x + (1 | g)" --family bernoulli --method laplace --out results
  zcat data.csv.gz | lmeformula fit - "rating ~ x + (1 | g)" --family "cumulative(probit)"

with --out DIR it writes there
  summary.txt   what is printed
  tidy.csv      every parameter with its standard error and interval
  effects.csv   every random effect
  fit.zip       the fit, for lmeformula predict, lmeformula report and, in Python, lmeformula.load
  *.png         pictures, where matplotlib is installed"""

PREDICT_EXAMPLES = """examples:
  lmeformula predict results/fit.zip new.csv
  lmeformula predict results/fit.zip new.csv --re-form NA --out predicted.csv
  lmeformula predict results/fit.zip - --new-levels population < new.csv
  lmeformula predict ordinal/fit.zip new.csv --kind prob

The columns of the new rows are written with the predictions after them, as CSV."""

REPORT_EXAMPLES = """examples:
  lmeformula report results/fit.zip report.html

The page holds its tables and pictures itself. Pictures of residuals need the rows of the data:
save them with lmeformula fit ... --out DIR --keep-data."""

EXAMPLES = """examples:
  lmeformula demo
  lmeformula demo --family cumulative
  lmeformula parse "ratings ~ service + (1 | students)"
  lmeformula fit data.csv "Reaction ~ Days + (Days | Subject)" --out results
  lmeformula fit - "y ~ x + (1 | g)" --method mcem --seed 7 < data.csv
  lmeformula predict results/fit.zip new.csv --out predicted.csv
  lmeformula report results/fit.zip report.html

exit status: 0 fine; 1 the fit did not converge; 2 a mistake in the call or in the data;
130 interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      arguments: without the program's name; those of the process by default.
    Returns:
      status: 0, 1 for a fit that did not converge, 2 for a mistake in the call or the data, 130 for
        an interruption from the keyboard.
    """
    open_streams()
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status: int = options.run(options)
        sys.stdout.flush()
        return status
    except LmeFormulaError as error:
        print(f"lmeformula: {error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        # The reader has seen enough.
        drop_output()
        return FINE
    except OSError as error:
        # All files are named by what writes them.
        where = "standard output" if error.filename is None else error.filename
        print(f"lmeformula: {where}: {error.strerror or error}", file=sys.stderr)
        drop_output()
        return BAD_INPUT
    except KeyboardInterrupt:
        print("lmeformula: interrupted", file=sys.stderr)
        return INTERRUPTED


def run_demo(options: argparse.Namespace) -> int:
    """Fit the lecture ratings of InstEval, compare, predict, draw."""
    from lmeformula.demo import demo, ordinal_demo

    how = {"rows": options.rows, "seed": options.seed, "progress": options.progress}
    if options.family == "cumulative":
        return exit_status(ordinal_demo(**how))
    options.out.mkdir(parents=True, exist_ok=True)  # before the long part, lest it be in vain
    return exit_status(demo(options.out, **how))


def run_fit(options: argparse.Namespace) -> int:
    """Fit a formula to a table, print the summary, write the report if asked."""
    from lmeformula.family import family

    # A mistake in the formula or in the family shows before the slow imports.
    lf.parse(options.formula)
    family(options.family)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    data = read_table(options.data, options.sep, options.decimal)
    fit = lf.fit(
        options.formula,
        data,
        family=options.family,
        method=options.method,
        sigma=options.sigma,
        weights=options.weights,
        frequency=options.frequency,
        offset=options.offset,
        reml=options.reml,
        seed=options.seed,
        progress=options.progress,
        checkpoint=options.checkpoint,
    )
    ddf = None if options.ddf == "no" else options.ddf
    print(fit.summary(ddf=ddf).to_text(shutil.get_terminal_size().columns))
    if options.out is not None:
        from lmeformula.views.report import write_report

        paths = write_report(fit, options.out, data=options.keep_data)
        print("\n".join(["", "Written:", *(f"  {path}" for path in paths)]))
    return exit_status(fit)


def run_predict(options: argparse.Namespace) -> int:
    """Predict new rows from a saved fit; CSV on standard output, or in a file."""
    import pandas as pd

    fit = lf.load(options.fit)
    new = read_table(options.data, options.sep, options.decimal)
    how = {"kind": options.kind, "re_form": options.re_form, "new_levels": options.new_levels}
    if options.interval is not None:
        how |= {"interval": options.interval, "level": options.level}
    text = pd.concat([new, fit.predict(new, **how)], axis=1).to_csv(index=False)
    if options.out is None:
        write_utf8(text)
    else:
        write_whole(options.out, text)
    return FINE


def run_report(options: argparse.Namespace) -> int:
    """Write a saved fit as one HTML page."""
    from lmeformula.views.page import write_page

    write_page(lf.load(options.fit), options.out, _tell if options.progress else None)
    print(f"Written: {options.out}")
    return FINE


def _tell(title: str) -> None:
    print(f"lmeformula: drawing {title}", file=sys.stderr)


def run_parse(options: argparse.Namespace) -> int:
    """Show what a formula means, without data."""
    formula = lf.parse(options.formula)
    for diagnostic in formula.diagnostics:
        print(f"lmeformula: warning: {diagnostic.message}", file=sys.stderr)
    if options.json:
        print(json.dumps(formula.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(f"{formula.explain()}\n\n{dump(formula)}")
    return FINE


def run_datasets(options: argparse.Namespace) -> int:
    """List the shipped data sets, or describe one."""
    from lmeformula import datasets

    print(datasets.describe(options.name) if options.name else datasets.catalogue())
    return FINE


def exit_status(fit: lf.Fit) -> int:
    """Turn the outcome of a fit into an exit status.

    Args:
      fit: a fitted model.
    Returns:
      status: 0 converged, 130 interrupted, 1 anything else.
    """
    if fit.outcome is lf.Outcome.INTERRUPTED:
        return INTERRUPTED
    return FINE if fit.converged else NOT_CONVERGED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lmeformula",
        description="Multilevel models from one line of lme4 syntax, by maximum likelihood.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lmeformula {lf.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        run: Callable[[argparse.Namespace], int], about: str, examples: str | None = None
    ) -> Callable[..., argparse.Action]:
        """A command by the name of its function; what comes back adds its arguments."""
        made = commands.add_parser(
            run.__name__.removeprefix("run_"),
            help=about,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        return made.add_argument

    add = command(run_demo, "fit 73,421 lecture ratings and draw the results")
    folder = Path("demo-output")
    add("--out", type=Path, default=folder, metavar="DIR", help="folder of the pictures")
    add("--rows", type=_positive, metavar="N", help="use about N rows: random students")
    about = (
        "ratings as numbers (gaussian, the default), or as ordered categories, compared with that"
    )
    add("--family", choices=("gaussian", "cumulative"), default="gaussian", help=about)
    add("--seed", **SEED)
    add("--no-progress", **NO_PROGRESS)

    add = command(run_fit, "fit a formula to a CSV or Parquet file", FIT_EXAMPLES)
    about = "a CSV file with a header line, or a Parquet file; - reads either from standard input"
    add("data", metavar="DATA", help=about)
    add("formula", **FORMULA)
    add("--sep", **SEP)
    add("--decimal", **DECIMAL)
    add("--family", default="gaussian", help="distribution of the response (%(default)s)")
    add("--method", default="auto", help="auto, exact, quadrature, laplace or mcem (%(default)s)")
    add("--sigma", type=float, metavar="SD", help="fix the residual sd at this value")
    add("--out", type=Path, metavar="DIR", help="write summary, tables and pictures there")
    add("--keep-data", action="store_true", help="keep the rows of the data in DIR/fit.zip")
    about = "a folder for what a long fit works out; killed, it goes on from there"
    add("--checkpoint", type=Path, metavar="DIR", help=about)
    add("--reml", action="store_true", help="maximise the restricted likelihood")
    choices = ("auto", "satterthwaite", "kenward-roger", "none", "no")
    about = "degrees of freedom of the tests: none for z, no for no p-values (%(default)s)"
    add("--ddf", default="auto", choices=choices, help=about)
    add("--weights", metavar="COLUMN", help="column of prior weights")
    add("--frequency", metavar="COLUMN", help="column of how many identical rows each stands for")
    add("--offset", metavar="COLUMN", help="column that is added to the predictor")
    add("--seed", **SEED)
    add("--no-progress", **NO_PROGRESS)

    add = command(run_predict, "predict new rows from a saved fit", PREDICT_EXAMPLES)
    add("fit", **SAVED_FIT)
    add("data", metavar="NEW", help="the new rows: CSV or Parquet; - for standard input")
    scales, about = ("response", "link", "prob"), "scale of the predictions (%(default)s)"
    add("--kind", default="response", choices=scales, help=about)
    add("--sep", **SEP)
    add("--decimal", **DECIMAL)
    about = "intervals of means, or of responses, beside the predictions"
    add("--interval", choices=("confidence", "prediction"), help=about)
    add("--level", type=float, default=0.95, metavar="P", help="their coverage (%(default)s)")
    add("--re-form", choices=("NA",), help="NA leaves the random effects out: the population")
    about = "what to do with levels that the fit has not seen (%(default)s)"
    add("--new-levels", default="error", choices=("error", "population"), help=about)
    add("--out", type=Path, metavar="FILE", help="write there, not to the terminal")

    add = command(run_report, "write a saved fit as one HTML page", REPORT_EXAMPLES)
    add("fit", **SAVED_FIT)
    add("out", type=Path, metavar="OUT.html", help="the page")
    add("--no-progress", **NO_PROGRESS)

    add = command(run_parse, "show what a formula means")
    add("formula", **FORMULA)
    add("--json", action="store_true", help="as JSON, for programs")

    add = command(run_datasets, "list the data sets that come with the package")
    add("name", nargs="?", metavar="NAME", help="describe this one")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _show_warning(
    message: Warning | str, category: type[Warning], *_: object, **__: object
) -> None:
    """Our warnings are for the user, as plain text; those of other libraries are for developers."""
    if issubclass(category, LmeFormulaWarning):
        print(f"lmeformula: warning: {message}", file=sys.stderr)
