"""E-step algorithms, one a file."""
