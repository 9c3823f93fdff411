"""The loop of the TensorFlow Probability tutorial; it has no log-likelihood."""

from __future__ import annotations

import sys
from pathlib import Path

from common import Task, read_data, read_task, run

sys.path[0] = str(Path(__file__).parents[1])

from tutorial_loop import FACTORS, Looped, tutorial_loop  # noqa: E402


def main(task: Task) -> None:
    from importlib.metadata import version

    data = read_data(task)

    def answer(found: Looped) -> tuple[float, dict[str, float]]:
        return float("nan"), {name: found.estimates[f"sd({name})"] for name in FACTORS}

    run(task, f"TFP {version('tensorflow-probability')}", lambda: tutorial_loop(data), answer)


if __name__ == "__main__":
    main(read_task())
