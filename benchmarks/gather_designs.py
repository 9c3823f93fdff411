"""Compare ways to look effects up by row, and to sum row derivatives by level, on InstEval.

Times one evaluation of log p(y, u) and its gradient in all 4,114 effects, for a Gaussian and a binary
response (`y >= 4`), for one chain and for four: called once from Python, and inside a compiled loop
of 50, as a sampler runs it. Data travel as arguments, so that XLA folds nothing. The last column is the
largest error of the gradient against sums in extended precision, relative to the largest element.

    python benchmarks/gather_designs.py [--dtype float32] [--repeats 15] [--data InstEval.csv.gz]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import tensorflow as tf

STEPS = 50
INTERCEPT, SLOPE, STEP = 0.3, -0.1, 1e-6
SHIPPED = Path(__file__).parents[1] / "lmeformula" / "data" / "InstEval.csv.gz"


class Rows(NamedTuple):
    y: np.ndarray  # (n,)
    x: np.ndarray  # (n,)
    index: tuple[np.ndarray, ...]  # (n,) per factor
    num_levels: tuple[int, ...]


class Variant(NamedTuple):
    """A way to evaluate: chains lead ("first") or trail ("last") the arrays."""

    name: str
    # (family, rows, dtype) -> (log density and gradient of (effects, data), data)
    prepare: Callable[..., tuple[Callable[..., Any], Any]]
    chains: str = "first"
    jit_compile: bool = True


def read_rows(path: Path, family: str) -> Rows:
    frame = pd.read_csv(path, dtype={"s": str, "d": str, "dept": str})
    index = tuple(
        pd.factorize(frame[column], sort=True)[0].astype(np.int32) for column in ("s", "d", "dept")
    )
    order = np.argsort(index[0], kind="stable")
    y = frame["y"].to_numpy(float)
    y = y - 3.0 if family == "gaussian" else (y >= 4).astype(float)
    x = frame["service"].to_numpy(float)
    levels = tuple(int(codes.max()) + 1 for codes in index)
    return Rows(y[order], x[order], tuple(codes[order] for codes in index), levels)


# ---- the density of the rows ------------------------------------------------------------------------


def row_density(family: str, y: Any, eta: Any) -> Any:
    """log p(y | eta) a row, up to a constant, for automatic differentiation."""
    if family == "gaussian":
        return -0.5 * tf.square(y - eta)
    return y * eta - tf.math.softplus(eta)


def row_density_and_score(family: str, y: Any, eta: Any) -> tuple[Any, Any]:
    """The same and its derivative in eta, from one exponential."""
    if family == "gaussian":
        residual = y - eta
        return -0.5 * tf.square(residual), residual
    small = tf.exp(-tf.abs(eta))
    mean = tf.where(eta >= 0, tf.ones_like(small), small) / (1.0 + small)
    return y * eta - tf.maximum(eta, 0.0) - tf.math.log1p(small), y - mean


def prior(effects: Any, axis: int) -> Any:
    return -0.5 * tf.add_n([tf.reduce_sum(u * u, axis) for u in effects])


def constants(rows: Rows, dtype: str, chains: str) -> tuple[Any, Any]:
    y, x = tf.constant(rows.y, dtype), tf.constant(rows.x, dtype)
    return (y, x) if chains == "first" else (y[:, tf.newaxis], x[:, tf.newaxis])


# ---- lookups differentiated automatically -----------------------------------------------------------


def automatic(lookups: tuple[Callable[..., Any], ...], chains: str = "first") -> Any:
    """A variant whose gradient is automatic; each lookup is (u, its data) -> rows."""
    axis = -1 if chains == "first" else 0

    def prepare(family: str, rows: Rows, dtype: str) -> Any:
        y, x = constants(rows, dtype, chains)
        made = [
            make(codes, size, dtype)
            for make, codes, size in zip(lookups, rows.index, rows.num_levels, strict=True)
        ]

        def evaluate(effects: Any, data: Any) -> Any:
            y, x, structures = data
            with tf.GradientTape() as tape:
                tape.watch(effects)
                eta = INTERCEPT + SLOPE * x
                for u, (look, _), structure in zip(effects, made, structures, strict=True):
                    eta = eta + look(u, structure)
                value = tf.reduce_sum(row_density(family, y, eta), axis) + prior(effects, axis)
            return value, tape.gradient(value, effects)

        return evaluate, (y, x, [structure for _, structure in made])

    return prepare


def gather(axis: int) -> Any:
    look = lambda u, index: tf.gather(u, index, axis=axis)  # noqa: E731
    return lambda codes, size, dtype: (look, tf.constant(codes))


def one_hot(codes: np.ndarray, size: int, dtype: str) -> Any:
    return lambda u, matrix: tf.linalg.matvec(matrix, u), tf.one_hot(codes, size, dtype=dtype)


def prefix_sums(codes: np.ndarray, size: int, dtype: str) -> Any:
    """Gather forward; backward a difference of prefix sums over the rows in the factor's order."""
    order = np.argsort(codes, kind="stable").astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=size))]).astype(np.int32)

    def look(u: Any, structure: Any) -> Any:
        index, order, bounds = structure

        @tf.custom_gradient
        def rows_of(u: Any) -> Any:
            def backward(score: Any) -> Any:
                total = tf.cumsum(tf.gather(score, order, axis=-1), axis=-1)
                total = tf.concat([tf.zeros_like(total[..., :1]), total], -1)
                total = tf.gather(total, bounds, axis=-1)
                return total[..., 1:] - total[..., :-1]

            return tf.gather(u, index, axis=-1), backward

        return rows_of(u)

    return look, (tf.constant(codes), tf.constant(order), tf.constant(bounds))


def chunks(width: int) -> Any:
    """Gather both ways: backward sums a level's rows in padded chunks, then the chunks' sums."""

    def make(codes: np.ndarray, size: int, dtype: str) -> Any:
        def look(u: Any, structure: Any) -> Any:
            index, stages = structure

            @tf.custom_gradient
            def rows_of(u: Any) -> Any:
                def backward(score: Any) -> Any:
                    for places in stages:
                        padded = tf.concat([score, tf.zeros_like(score[..., :1])], -1)
                        score = tf.reduce_sum(tf.gather(padded, places, axis=-1), -1)
                    return score

                return tf.gather(u, index, axis=-1), backward

            return rows_of(u)

        stages = [tf.constant(places) for places in chunk_stages(codes, size, width)]
        return look, (tf.constant(codes), stages)

    return make


def chunk_stages(codes: np.ndarray, size: int, width: int) -> list[np.ndarray]:
    """Index matrices that sum by level; the index one past the end stands for a zero."""
    stages = []
    items, counts = np.argsort(codes, kind="stable"), np.bincount(codes, minlength=size)
    while True:
        num_chunks = np.maximum(1, -(-counts // width))
        level = np.repeat(np.arange(size), num_chunks)
        first = np.concatenate([[0], np.cumsum(num_chunks)[:-1]])
        within = (np.arange(len(level)) - first[level])[:, None] * width + np.arange(width)
        start = np.concatenate([[0], np.cumsum(counts)[:-1]])
        place = np.minimum(start[level][:, None] + within, len(items) - 1)
        real = within < counts[level][:, None]
        stages.append(np.where(real, items[place], len(items)).astype(np.int32))
        if len(level) == size:
            return stages
        items, counts = np.arange(len(level)), num_chunks


# ---- derivatives written out ------------------------------------------------------------------------


def analytic(chains: str = "first", *, fold: bool = False) -> Any:
    """The row's score from the pass that computes its density, then segment sums.

    With `fold`, a factor that is a function of another (here each instructor has one department)
    is looked up by the levels of that one, not by row.
    """
    axis = -1 if chains == "first" else 0

    def segment_sum(score: Any, index: Any, size: int) -> Any:
        if axis == 0 or score.shape.rank == 1:
            return tf.math.unsorted_segment_sum(score, index, size)
        return tf.transpose(tf.math.unsorted_segment_sum(tf.transpose(score), index, size))

    def prepare(family: str, rows: Rows, dtype: str) -> Any:
        y, x = constants(rows, dtype, chains)
        index = [tf.constant(codes) for codes in rows.index]
        if fold:
            pairs = np.unique(np.column_stack(rows.index[1:]), axis=0)
            assert len(pairs) == rows.num_levels[1], "an instructor has more than one department"
            index[2] = tf.constant(pairs[:, 1])

        def evaluate(effects: Any, data: Any) -> Any:
            y, x, index = data
            outer, inner = effects[0], effects[1]
            if fold:
                inner = inner + tf.gather(effects[2], index[2], axis=axis)
            eta = INTERCEPT + SLOPE * x + tf.gather(outer, index[0], axis=axis)
            eta = eta + tf.gather(inner, index[1], axis=axis)
            if not fold:
                eta = eta + tf.gather(effects[2], index[2], axis=axis)
            density, score = row_density_and_score(family, y, eta)
            sizes = rows.num_levels
            sums = [segment_sum(score, index[j], sizes[j]) for j in (0, 1)]
            sums.append(segment_sum(sums[1] if fold else score, index[2], sizes[2]))
            value = tf.reduce_sum(density, axis) + prior(effects, axis)
            return value, [total - u for total, u in zip(sums, effects, strict=True)]

        return evaluate, (y, x, index)

    return prepare


def sparse_product(family: str, rows: Rows, dtype: str) -> Any:
    """eta = Z u and Z' score with a sparse Z; chains last. XLA does not compile it on CPU."""
    y, x = constants(rows, dtype, "last")
    n, first = len(rows.y), np.concatenate([[0], np.cumsum(rows.num_levels)])
    column = np.stack([codes + f for codes, f in zip(rows.index, first, strict=False)], 1).ravel()
    place = np.column_stack([np.repeat(np.arange(n), 3), column]).astype(np.int64)
    Z = tf.sparse.SparseTensor(place, tf.ones(3 * n, dtype), (n, int(first[-1])))

    def evaluate(effects: Any, data: Any) -> Any:
        y, x, Z = data
        columns = [u[:, tf.newaxis] if u.shape.rank == 1 else u for u in effects]
        u = tf.concat(columns, 0)
        eta = INTERCEPT + SLOPE * x + tf.sparse.sparse_dense_matmul(Z, u)
        density, score = row_density_and_score(family, y, eta)
        gradient = tf.sparse.sparse_dense_matmul(Z, score, adjoint_a=True) - u
        parts = tf.split(gradient, rows.num_levels)
        parts = [tf.reshape(g, u.shape) for g, u in zip(parts, effects, strict=True)]
        return tf.reduce_sum(density, 0) + prior(columns, 0), parts

    return evaluate, (y, x, Z)


def no_lookup(family: str, rows: Rows, dtype: str) -> Any:
    """The floor: the rows alone, with one effect in place of all lookups."""
    y, x = constants(rows, dtype, "first")

    def evaluate(effects: Any, data: Any) -> Any:
        y, x = data
        eta = INTERCEPT + SLOPE * x + effects[0][..., :1]
        density, score = row_density_and_score(family, y, eta)
        total = tf.reduce_sum(score, -1, keepdims=True)
        return tf.reduce_sum(density, -1) + prior(effects, -1), [total - u for u in effects]

    return evaluate, (y, x)


VARIANTS = (
    Variant("rows alone (no lookup)", no_lookup),
    Variant("gather, automatic", automatic((gather(-1),) * 3)),
    Variant("gather, automatic, no XLA", automatic((gather(-1),) * 3), jit_compile=False),
    Variant("gather, automatic", automatic((gather(0),) * 3, "last"), "last"),
    Variant("gather + one-hot departments", automatic((gather(-1), gather(-1), one_hot))),
    Variant("prefix sums backward", automatic((prefix_sums,) * 3)),
    Variant("padded chunks of 8 backward", automatic((chunks(8),) * 3)),
    Variant("padded chunks of 32 backward", automatic((chunks(32),) * 3)),
    Variant("analytic score, segment sums", analytic()),
    Variant("analytic score, segment sums", analytic("last"), "last"),
    Variant("analytic, nested factor folded", analytic(fold=True)),
    Variant("analytic, nested factor folded", analytic("last", fold=True), "last"),
    Variant("analytic, sparse Z, no XLA", sparse_product, "last", jit_compile=False),
)


# ---- measuring --------------------------------------------------------------------------------------


def exact_gradient(family: str, rows: Rows, effects: list[np.ndarray]) -> list[np.ndarray]:
    """The gradient of one chain, levels summed in extended precision."""
    eta = INTERCEPT + SLOPE * rows.x
    eta = eta + sum(u[codes] for u, codes in zip(effects, rows.index, strict=True))
    mean = eta if family == "gaussian" else 1.0 / (1.0 + np.exp(-eta))
    sums = []
    for u, codes in zip(effects, rows.index, strict=True):
        total = np.zeros(len(u), np.longdouble)
        np.add.at(total, codes, (rows.y - mean).astype(np.longdouble))
        sums.append(np.asarray(total - u, float))
    return sums


class Timed(NamedTuple):
    """A compiled variant and its timings so far."""

    variant: Variant
    call: Callable[[], Any]  # one evaluation
    loop: Callable[[], Any]  # STEPS of them
    compile_seconds: float
    error: str
    called: list[float]
    looped: list[float]


def compiled(variant: Variant, family: str, rows: Rows, chains: int, dtype: str) -> Timed:
    evaluate, data = variant.prepare(family, rows, dtype)
    rng = np.random.default_rng(0)
    start = [rng.normal(scale=0.3, size=(size, chains)) for size in rows.num_levels]
    arranged = [u if variant.chains == "last" else u.T for u in start]
    effects = [tf.constant(u.squeeze() if chains == 1 else u, dtype) for u in arranged]

    once = tf.function(evaluate, jit_compile=variant.jit_compile, autograph=False)

    @tf.function(jit_compile=variant.jit_compile, autograph=False)
    def loop(effects: Any, data: Any) -> Any:
        def step(i: Any, effects: Any, value: Any) -> Any:
            value, gradient = evaluate(effects, data)
            moved = [u + STEP * g for u, g in zip(effects, gradient, strict=True)]
            return i + 1, moved, tf.reduce_sum(value)

        zero = tf.zeros([], dtype)
        return tf.while_loop(lambda i, *_: i < STEPS, step, (tf.constant(0), effects, zero))

    began = time.perf_counter()
    gradient = [g.numpy() for g in once(effects, data)[1]]
    compile_seconds = time.perf_counter() - began
    loop(effects, data)[2].numpy()

    error = "-"
    if variant.prepare is not no_lookup:
        exact = exact_gradient(family, rows, [u[:, 0] for u in start])
        if chains > 1:
            gradient = [g[0] if variant.chains == "first" else g[:, 0] for g in gradient]
        difference = max(np.abs(g - e).max() for g, e in zip(gradient, exact, strict=True))
        error = f"{difference / max(np.abs(e).max() for e in exact):.0e}"
    call, looped = lambda: once(effects, data)[1][0].numpy(), lambda: loop(effects, data)[2].numpy()
    return Timed(variant, call, looped, compile_seconds, error, [], [])


def seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def table(family: str, rows: Rows, chains: int, dtype: str, repeats: int) -> str:
    timed = [
        compiled(variant, family, rows, chains, dtype)
        for variant in VARIANTS
        # With one chain, chains last is the same program as chains first.
        if chains > 1 or variant.chains == "first" or not variant.jit_compile
    ]
    # In turn, so that whatever else the machine does meets all of them.
    for _ in range(repeats):
        for one in timed:
            one.called.append(seconds(one.call))
            one.looped.append(seconds(one.loop) / STEPS)
    lines = [
        f"{family}, {chains} chain{'s' * (chains > 1)}: milliseconds an evaluation",
        f"{'design':<32} {'':<12} {'called':>7} {'in loop':>8} {'(median)':>8} {'compile s':>9} "
        f"{'error':>8}",
    ]
    for one in timed:
        layout = "" if chains == 1 else f"chains {one.variant.chains}"
        lines.append(
            f"{one.variant.name:<32} {layout:<12} {1e3 * min(one.called):7.2f} "
            f"{1e3 * min(one.looped):8.2f} {1e3 * float(np.median(one.looped)):8.2f} "
            f"{one.compile_seconds:9.2f} {one.error:>8}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHIPPED)
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, {options.dtype}, TensorFlow {tf.__version__}")
    for family in ("gaussian", "binary"):
        rows = read_rows(options.data, family)
        for chains in (1, 4):
            print("\n" + table(family, rows, chains, options.dtype, options.repeats), flush=True)


if __name__ == "__main__":
    main()
