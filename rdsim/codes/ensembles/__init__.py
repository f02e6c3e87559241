"""Random codebooks averaged exactly: codes on the DSBS, for any discrete source, for directions; the Gaussian test channel.

(C14, C15, C28, C29.) `random_code` describes a code; its mean rank loss over codebooks, items and queries is a finite sum of
non-negative numbers, for databases of up to 2^1000 items.
"""

from rdsim.codes.ensembles.cosets import coset_distances
from rdsim.codes.ensembles.discrete import discrete_ensemble
from rdsim.codes.ensembles.dsbs import (
    dsbs_code_loss,
    dsbs_distances,
    dsbs_ensemble,
)
from rdsim.codes.ensembles.gaussian import gaussian_test_channel
from rdsim.codes.ensembles.random_coding import RandomCode, random_code
from rdsim.codes.ensembles.sphere import sphere_ensemble

__all__ = [
    "RandomCode",
    "coset_distances",
    "discrete_ensemble",
    "dsbs_code_loss",
    "dsbs_distances",
    "dsbs_ensemble",
    "gaussian_test_channel",
    "random_code",
    "sphere_ensemble",
]
