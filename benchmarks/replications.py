"""Time ten thousand codes learned from a thousand samples each, beside one after the other."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rdsim import finite_sample, limits

REPLICATIONS = 10_000
SAMPLES = 1000


def rows(seconds: Callable[[Callable[[], Any]], float]) -> list[tuple[str, str, str]]:
    """Time the batched replications of an 8 x 8 source; the clock is that of the table."""
    generator = np.random.default_rng(0)
    p, d, slope = generator.dirichlet(np.ones(8)), generator.uniform(size=(8, 8)), 20.0
    key = jax.random.key(0)

    def learned() -> jax.Array:
        return finite_sample.plug_in_excess(
            key, p, d, slope, SAMPLES, replications=REPLICATIONS
        ).excess

    found = finite_sample.plug_in_excess(key, p, d, slope, SAMPLES, replications=REPLICATIONS)
    batched = seconds(learned)
    few = generator.multinomial(SAMPLES, p, size=20) / SAMPLES
    alone = seconds(
        lambda: [limits.rate_distortion(law, d, [slope], tolerance=1e-12).gap for law in few]
    )
    gap = float(found.gap.max())
    return [
        (
            f"{REPLICATIONS} learned codes, 8 x 8, N = {SAMPLES}",
            f"{batched:.2f} s",
            f"gap at most {gap:.1e} nats, certified",
        ),
        (
            "  one call of rate_distortion for each",
            f"{alone / len(few) * REPLICATIONS:.1f} s",
            f"from {len(few)} of them; ratio {alone / len(few) * REPLICATIONS / batched:.0f}",
        ),
    ]
