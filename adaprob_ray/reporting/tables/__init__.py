"""Tables as data and as text: terminal, Markdown, LaTeX and CSV."""
