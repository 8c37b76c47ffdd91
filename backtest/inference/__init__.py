"""Pass 2: what a strategy predicts for the events that it is asked about."""
