"""Training: fits the ensemble to a window of a dataset's targets."""
