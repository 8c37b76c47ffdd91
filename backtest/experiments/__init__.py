"""Many runs: sweeps, where they are carried out, latency studies and tournaments."""
