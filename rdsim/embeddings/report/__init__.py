"""The report of given embeddings in words, tables and one page."""

from rdsim.embeddings.report.words import advice, sentences, verdicts

__all__ = ["advice", "sentences", "verdicts"]
