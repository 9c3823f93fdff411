"""Fits that a rebuilding must not move: what each gives, recorded before and compared after.

- `cases`: the calls, families x methods x structures x one and several predictors x solvers; and calls that are
  refused;
- `record`: everything that a fit gives, as plain values: numbers to the bit, texts, saved bytes, seconds;
- `differences`: two records side by side.
"""
