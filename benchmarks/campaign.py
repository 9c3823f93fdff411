"""Random data and models held to properties, with an independent implementation as the judge.

    python benchmarks/campaign.py --cases gaussian=20000 laplace=3000 mcem=300 --out campaign.jsonl
    python benchmarks/campaign.py --case gaussian:1:17       # one case again, in words

A run that is stopped goes on where it was; see benchmarks/truth for what is held to what.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

from truth.runner import main

if __name__ == "__main__":
    sys.exit(main())
