"""Models of given embeddings, under which limits below the converse for all data can be computed."""

from rdsim.embeddings.models.twins import Models, OtherSizes, Twin, with_models

__all__ = ["Models", "OtherSizes", "Twin", "with_models"]
