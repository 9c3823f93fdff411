"""Fits that are killed and go on: a folder, the journal of what was worked out in it, and files of arrays."""
