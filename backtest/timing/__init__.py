"""Pass 1: when each event is answered, by policies, latency models and the simulated server."""
