"""The log of a Bessel function by which densities on spheres are computed."""

import numpy as np
import pytest
import scipy

from rdsim.sources.sphere.caps import log_bessel


@pytest.mark.parametrize("b", [1.0, 1.5, 2.0, 4.5, 10.0, 20.5, 21.0, 40.0])
def test_log_bessel_is_that_of_scipy_on_both_sides_of_its_expansions(b):
    z = np.concatenate([np.linspace(0.3, 100.0, 700), np.geomspace(100.0, 1e5, 40)])
    scaled = np.log(scipy.special.ive(b - 1, z))
    exact = scipy.special.gammaln(b) - (b - 1) * np.log(z / 2) + scaled + z
    np.testing.assert_allclose(log_bessel(b, np.log(z)), exact, rtol=2e-14, atol=1e-13)
    # Few numbers take another way.
    np.testing.assert_allclose(log_bessel(b, np.log(z[::50])), exact[::50], rtol=2e-14, atol=1e-13)


@pytest.mark.parametrize("b", [0.5, 1.0, 4.5, 30.0])
def test_log_bessel_begins_with_a_square(b):
    found = log_bessel(b, np.log([1e-4, 1e-3]))
    np.testing.assert_allclose(found, np.array([1e-8, 1e-6]) / (4 * b), atol=1e-13)
    assert float(log_bessel(b, np.asarray(-np.inf))) == pytest.approx(0.0, abs=1e-13)
