"""One small data frame with a column of every kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


def make_frame(num_rows: int = 60, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=num_rows),
            "x": rng.normal(size=num_rows),
            "z": rng.uniform(1, 9, num_rows),
            "a": rng.choice(["a1", "a2", "a3"], num_rows),
            "b": rng.choice(["b1", "b2"], num_rows),
            "g": rng.choice(list("pqrst"), num_rows),
            "h": rng.integers(1, 12, num_rows),
            "t": rng.integers(0, 4, num_rows),
            "lg": rng.random(num_rows) > 0.5,
            "s": rng.integers(0, 5, num_rows),
            "w": rng.uniform(0.5, 2, num_rows),
        }
    )
    frame["n"] = frame["s"] + rng.integers(1, 4, num_rows)
    frame["o"] = pd.Categorical(
        rng.choice(["lo", "mid", "hi"], num_rows), ["lo", "mid", "hi"], ordered=True
    )
    return frame


@pytest.fixture
def frame() -> pd.DataFrame:
    return make_frame()
