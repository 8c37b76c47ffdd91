"""What several sources use: files, numbers, books, lanes, counts."""
