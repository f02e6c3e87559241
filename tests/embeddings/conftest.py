"""A report on planted pairs, with and without models, measured once for all files."""

import jax
import numpy as np
import pytest
from planted_pairs import KEY, planted

from rdsim.embeddings import measure_embeddings, retrieval_task, with_models


@pytest.fixture(scope="session")
def measured():
    x, y = planted(400)
    task = retrieval_task(x.astype(np.float32), y.astype(np.float32))
    return measure_embeddings(
        jax.random.key(5), task, (4, 8, 16, 32, 96), systems=("transform code", "ITQ", "float16")
    )


@pytest.fixture(scope="session")
def report(measured):
    return with_models(KEY, measured)
