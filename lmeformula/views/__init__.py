"""View stage: statistics as text, HTML, LaTeX and pictures; nothing is computed here."""
