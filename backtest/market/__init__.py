"""What a tick is: events, quotes, and the instruments that they are of."""
