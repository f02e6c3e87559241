"""Vectors and targets as people have them: files, blocks of rows, and what is to be found for each query."""
