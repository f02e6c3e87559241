"""Halves of handwritten digits: MRR and recall against bits, under the converse."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import gap

CAPTION = (
    "Left halves of handwritten digits are queries for their right halves, of which a few bits "
    "are stored. Codes were fitted to other digits; bars are 95 % intervals over queries. "
    "No system lies in the dark shade (C4), "
    "and no code of one codebook, as all of these are, in the light one (C27)."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw MRR and recall against bits per item."""
    return gap.draw(dataset)
