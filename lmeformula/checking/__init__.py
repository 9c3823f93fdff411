"""Whether a fit may be believed: residual checks, calibration, rows left out, how it ended."""
