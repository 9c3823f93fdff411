"""Data sets with known truth, fitted one after the other: bias, coverage and failures of each family."""
