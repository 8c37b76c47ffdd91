"""Datasets: the card that describes one, its canonical Parquet, and the sources that write both."""
