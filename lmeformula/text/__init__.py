"""Tables and numbers for reading: as text, HTML and names."""
