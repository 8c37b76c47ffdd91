"""Many runs: sweeps and their executors, latency studies and tournaments."""
