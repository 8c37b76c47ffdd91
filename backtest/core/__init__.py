"""What every package builds on: arrays, files, hashes, times, text, and typed parameters."""
