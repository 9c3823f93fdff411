"""A fit for other tools: data frames, ArviZ, references."""
