"""A synthetic market whose truth is known: what an answer is worth, and how soon it is not."""
