"""Bad arguments of Gaussian mixtures are named."""

import numpy as np
import pytest

from rdsim import sources


def mixture(weights=(0.5, 0.5), means=((0.0,), (1.0,)), variance=1.0, **options):
    options = {"query_noise": [1.0, 2.0], **options}
    return sources.gaussian_mixture(weights, means, variance, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mixture(weights=[0.5, 0.6]), ValueError, "weights must sum to one, got a sum"),
        (
            lambda: mixture(means=[[0.0] * 3] * 2),
            ValueError,
            r"item_means must have shape \(2, 1\) or \(2, 2\) for 2 weights, .* got shapes \(2, 3\)",
        ),
        (lambda: mixture(means=[0.0, 1.0]), ValueError, "item_means must have 2 dimensions"),
        (
            lambda: mixture(means=[[0.0], [np.inf]]),
            ValueError,
            r"item_means must lie in \(-inf, inf\), got inf at index \(1, 0\)",
        ),
        (
            lambda: mixture(variance=[1.0, 0.0]),
            ValueError,
            r"item_variance must lie in \(0, inf\), got 0.0 at index 1",
        ),
        (
            lambda: mixture(variance=[1.0] * 3),
            ValueError,
            r"item_variance must be a scalar or have shape \(2,\), got \(3,\)",
        ),
        (
            lambda: mixture(query_noise=[1.0, -1.0]),
            ValueError,
            r"query_noise must lie in \(0, inf\), got -1.0 at index 1",
        ),
        (lambda: mixture(query_noise=1.0), ValueError, "query_noise must have 1 dimensions"),
        (
            lambda: mixture(gains=[1.0] * 3),
            ValueError,
            r"gains must be a scalar or have shape \(2,\), got \(3,\)",
        ),
        (
            lambda: mixture(query_means=np.zeros((2, 2, 2))),
            ValueError,
            r"query_means must have shape \(2, 2, 1\), got \(2, 2, 2\)",
        ),
        (
            lambda: mixture().mutual_information(2),
            ValueError,
            r"modalities must be in \[0, 1\], got 2",
        ),
        (
            lambda: mixture().mutual_information((1, 1)),
            ValueError,
            r"modalities must be distinct and at least one, got \(1, 1\)",
        ),
        (lambda: mixture().mutual_information("0"), TypeError, "modalities must be an integer"),
        (
            lambda: mixture().mutual_information(tolerance=0.0),
            ValueError,
            r"tolerance must lie in \(0, inf\], got 0.0",
        ),
        (
            lambda: mixture().log_density_item([0.0, 1.0]),
            ValueError,
            r"item must have 1 coordinates last, got \(2,\)",
        ),
        (
            lambda: mixture().log_density_item([np.inf]),
            ValueError,
            r"item must lie in \(-inf, inf\), got inf",
        ),
        (
            lambda: mixture().log_density_query([[0.0]]),
            ValueError,
            r"queries must end in shape \(2, 1\), got \(1, 1\)",
        ),
        (lambda: mixture().discretise(1), ValueError, r"cells must be in \[2, 2048\], got 1"),
        (
            lambda: mixture().discretise(8, modality=2),
            ValueError,
            r"modalities must be in \[0, 1\], got 2",
        ),
        (
            lambda: mixture(means=((-1.0, 0.0), (1.0, 1.0))).discretise(8),
            ValueError,
            "discretise needs items on a line, got items of 2 dimensions; discretise_item",
        ),
        (
            lambda: mixture(means=((-1.0, 0.0), (1.0, 1.0))).discretise_item(300),
            ValueError,
            r"cells must be in \[2, 256\], got 300",
        ),
        (lambda: mixture().sample(3), TypeError, "key"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
