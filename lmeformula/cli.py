"""The command line: `lmeformula demo | fit | parse | datasets`; thin, over the public functions."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import lmeformula as lf
from lmeformula.errors import DatasetError, LmeFormulaError, LmeFormulaWarning
from lmeformula.formula.show import dump
from lmeformula.views.quiet import import_tensorflow

if TYPE_CHECKING:
    import pandas as pd

FINE, NOT_CONVERGED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

EXAMPLES = """examples:
  lmeformula demo
  lmeformula parse "ratings ~ service + (1 | students)"
  lmeformula fit data.csv "Reaction ~ Days + (Days | Subject)" --out results
  lmeformula fit - "y ~ x + (1 | g)" --method mcem --seed 7 < data.csv

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
        # The reader has seen enough. Python flushes once more at exit; let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FINE
    except OSError as error:
        where = f"{error.filename}: {error.strerror}" if error.filename else error
        print(f"lmeformula: {where}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("lmeformula: interrupted", file=sys.stderr)
        return INTERRUPTED


def run_demo(options: argparse.Namespace) -> int:
    """Fit the lecture ratings of InstEval, compare, predict, draw."""
    options.out.mkdir(parents=True, exist_ok=True)  # before the long part, lest it be in vain
    from lmeformula.demo import demo

    fit = demo(options.out, rows=options.rows, seed=options.seed, progress=options.progress)
    return exit_status(fit)


def run_fit(options: argparse.Namespace) -> int:
    """Fit a formula to a CSV file, print the summary, write the report if asked."""
    lf.parse(options.formula)  # a mistake in the formula shows before the slow imports
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
    data = _read_csv(options.data)
    if options.method == "mcem" or options.family != "gaussian":
        import_tensorflow()
    fit = lf.fit(
        options.formula,
        data,
        family=options.family,
        method=options.method,
        sigma=options.sigma,
        seed=options.seed,
        progress=options.progress,
    )
    print(fit.summary().to_text(_width()))
    if options.out is not None:
        from lmeformula.views.report import write_report

        paths = write_report(fit, options.out)
        print("\n".join(["", "Written:", *(f"  {path}" for path in paths)]))
    return exit_status(fit)


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

    demo = commands.add_parser("demo", help="fit 73,421 lecture ratings and draw the results")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="folder of the pictures",
    )
    demo.add_argument(
        "--rows", type=_positive, metavar="N", help="use about N rows: random students"
    )
    _add_run_options(demo)
    demo.set_defaults(run=run_demo)

    fit = commands.add_parser("fit", help="fit a formula to a CSV file")
    fit.add_argument(
        "data",
        metavar="DATA.csv",
        help="the data, with a header line; - reads it from standard input",
    )
    fit.add_argument("formula", metavar="FORMULA", help='in quotes: "y ~ x + (1 | g)"')
    fit.add_argument(
        "--family", default="gaussian", help="distribution of the response (%(default)s)"
    )
    fit.add_argument("--method", default="auto", help="auto, exact, laplace or mcem (%(default)s)")
    fit.add_argument("--sigma", type=float, metavar="SD", help="fix the residual sd at this value")
    fit.add_argument(
        "--out", type=Path, metavar="DIR", help="write summary, tables and pictures there"
    )
    _add_run_options(fit)
    fit.set_defaults(run=run_fit)

    parse = commands.add_parser("parse", help="show what a formula means")
    parse.add_argument("formula", metavar="FORMULA", help='in quotes: "y ~ x + (1 | g)"')
    parse.add_argument("--json", action="store_true", help="as JSON, for programs")
    parse.set_defaults(run=run_parse)

    datasets = commands.add_parser("datasets", help="list the data sets that come with the package")
    datasets.add_argument("name", nargs="?", metavar="NAME", help="describe this one")
    datasets.set_defaults(run=run_datasets)
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (%(default)s)")
    parser.add_argument(
        "--no-progress", dest="progress", action="store_false", help="show no progress"
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _read_csv(source: str) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(sys.stdin if source == "-" else source)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DatasetError(
            f"cannot read {source}: {reason}", hint="Give a CSV file with a header line."
        ) from error


def _width() -> int:
    return shutil.get_terminal_size().columns


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our warnings are for the user, as plain text; those of other libraries are for developers."""
    if issubclass(category, LmeFormulaWarning):
        print(f"lmeformula: warning: {message}", file=sys.stderr)
