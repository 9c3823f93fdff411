"""What each kind of likelihood knows of the place where a fit ended: one a file."""
