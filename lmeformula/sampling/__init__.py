"""A compiled formula as a problem for the engine: whitened coordinates and control variates."""
