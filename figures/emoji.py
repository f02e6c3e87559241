"""Emoji and their names: MRR and recall against bits, under the converse."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import gap

CAPTION = (
    "Unicode names look for pictures of emoji, of which a few bits are stored. The encoders were "
    "trained on other emoji, the codes on others again; 95 % intervals over queries, beside what no "
    "system can pass (C4) and the same limit at the estimated information between the embeddings."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw MRR and recall against bits an item."""
    return gap.draw(dataset)
