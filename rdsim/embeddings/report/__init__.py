"""The report of given embeddings in words, tables and one page."""
