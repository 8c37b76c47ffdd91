"""What a dataset holds, and which of its rows break a rule."""
