"""Features that are built from quotes and trades, and added to datasets."""
