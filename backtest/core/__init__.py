"""What every package stands on: arrays, files, hashes, times, text, and typed parameters."""
