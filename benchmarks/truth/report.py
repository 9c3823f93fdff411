"""The table of a campaign: what was held to what, how often, and how far from right."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: a row for each property and method, then outcomes and refusals.

    Args:
      records: one for each case, as the runner writes them.
    """
    sizes: dict[tuple[str, str], list[float]] = defaultdict(list)
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    refusals: Counter[str] = Counter()
    failed: dict[str, int] = Counter()
    for record in records:
        method = record["case"].split(":")[0]
        outcomes[method][record["outcome"]] += 1
        failed[method] += bool(record["failures"])
        if record["outcome"] == "refused":
            refusals[record["words"][:90]] += 1
        for name, size in record["findings"]:
            # One row for all that a property compares: "recoded: contrasts, means" is of "recoded: contrasts".
            sizes[(name.split(",")[0], method)].append(np.inf if size is None else size)
    lines = [
        "Largest discrepancies are in units of what is tolerated: above 1 is a failure.",
        "",
        "| property | method | tried | failures | largest discrepancy |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for (name, method), values in sorted(sizes.items(), key=lambda item: (item[0][1], item[0][0])):
        bad = sum(not value <= 1.0 for value in values)
        good = [value for value in values if value <= 1.0]
        largest = "above" if bad else f"{max(good):.2g}"
        lines.append(f"| {name} | {method} | {len(values)} | {bad} | {largest} |")
    lines += ["", "| method | cases | failed | outcomes |", "| --- | ---: | ---: | --- |"]
    for method, counts in outcomes.items():
        shown = ", ".join(f"{name} {count}" for name, count in counts.most_common())
        lines.append(f"| {method} | {sum(counts.values())} | {failed[method]} | {shown} |")
    if refusals:
        lines += ["", "Refused by our own errors:", ""]
        lines += [f"- {count}: {words}" for words, count in refusals.most_common(25)]
    return "\n".join(lines)
