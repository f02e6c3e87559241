"""Models of given embeddings, under which limits below the converse for all data can be computed."""
