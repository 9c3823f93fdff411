"""M-step algorithms, one a file."""
