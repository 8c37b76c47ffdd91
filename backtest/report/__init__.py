"""Reports: one self-contained HTML file about some runs."""
