"""Fit <-> file: saving without pickle, and loading with everything checked."""
