"""Pass 3: what answers earn, from orders and fills to accounts."""
