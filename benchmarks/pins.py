"""Fits that a rebuilding must not move: record what they give, rebuild, compare.

Numbers are kept to the bit, so a record is worth something on the machine that it was made on.

    python benchmarks/pins.py record before.json
    python benchmarks/pins.py compare before.json            record again, and say what differs
    python benchmarks/pins.py compare before.json --only cbpp sleepstudy
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from pinned import record
from pinned.cases import CALLS, REFUSED
from pinned.differences import differences

# What is no fault: rounding that has changed, new cases, and seconds, which others on the machine cost as well.
ALLOWED = {"rounding", "new", "slower"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", nargs="+", choices=CALLS, help="these cases alone")
    options = parser.parse_args()
    before = json.loads(options.file.read_text("utf-8")) if options.action == "compare" else None
    names = list(options.only or CALLS)
    found: dict[str, Any] = {"fits": {}, "refused": {}}
    for name in names:
        found["fits"][name] = record.of(CALLS[name])
        print(f"{found['fits'][name]['seconds']:8.2f} s  {name}", file=sys.stderr, flush=True)
    found["refused"] = {name: record.refusal(call) for name, call in REFUSED.items()}
    if before is None:
        options.file.write_text(json.dumps(found, indent=1), encoding="utf-8")
        return 0
    before["fits"] = {name: fit for name, fit in before["fits"].items() if name in names}
    apart = sorted(differences(before, found))
    for each in apart:
        print(f"{each.kind:8}  {each.case}: {each.what} {each.words}")
    counts = Counter(each.kind for each in apart)
    print(f"{len(names)} fits: " + (", ".join(f"{n} {k}" for k, n in counts.items()) or "the same"))
    return int(any(each.kind not in ALLOWED for each in apart))


if __name__ == "__main__":
    sys.exit(main())
