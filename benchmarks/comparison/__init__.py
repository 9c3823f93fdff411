"""Side-by-side runs of this library and of the tools that a user would pick instead."""
