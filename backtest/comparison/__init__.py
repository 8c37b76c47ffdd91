"""Finished runs side by side: figures, statistics, verdict and gates."""
