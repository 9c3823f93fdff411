"""What an argument of a public call may be."""
