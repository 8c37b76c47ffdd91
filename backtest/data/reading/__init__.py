"""The event bus: datasets read, decoded and merged into one order."""
