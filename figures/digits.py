"""Halves of handwritten digits: MRR and recall against bits, under the converse."""

import xarray
from matplotlib.figure import Figure

from rdsim.plotting import gap

CAPTION = (
    "Left halves of handwritten digits are queries for their right halves, of which a few bits "
    "are stored. Codes were fitted to other digits; bars are 95 % intervals over queries. "
    "No system lies in the dark shade (C4), and no code of one codebook, as all of these are, in the light one (C27). Below: what a quarter of the items says of larger databases, mean over the quarters. Left: "
    "MRR of items stored whole; predicted from the ranks with a band (C1), and by the Gaussian (C29) and isotropic (C27) twins fitted to the quarter. "
    "Right: MRR at so many bits of ideal codes for either twin, beside the best measured codes."
)


def draw(dataset: xarray.Dataset) -> Figure:
    """Draw MRR and recall against bits per item."""
    return gap.draw(dataset)
