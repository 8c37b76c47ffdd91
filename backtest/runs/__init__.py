"""One run: what is asked for, the three passes put together, and the folder that is kept."""
