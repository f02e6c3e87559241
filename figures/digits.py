"""Halves of handwritten digits: MRR and recall against bits, under the converse."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import gap

CAPTION = (
    "Left halves of handwritten digits look for their right halves, of which a few bits are stored: "
    "codes fitted to other digits, with 95 % intervals over queries, beside what no system can pass "
    "(C4) and the same limit at the estimated information between the halves."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw MRR and recall against bits an item."""
    return gap.draw(dataset)
