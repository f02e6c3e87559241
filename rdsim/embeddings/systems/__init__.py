"""Codes for real vectors: the project's own, those of faiss, the learned one, and one's own."""
