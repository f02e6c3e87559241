r"""A graph network over items: dual encoders that see what lies around a query and around an item.

The nodes are pairs $(x_j, y_j)$ set aside, with the features $h_j = (x_j, y_j)$. Each is joined to the k nodes whose queries
are nearest to its own and to the k whose items are, itself included, and one round of messages along both kinds of edges gives

$$h'_j = \tfrac12 \Bigl(\frac1k \sum_{i \in N_x(x_j)} h_i + \frac1k \sum_{i \in N_y(y_j)} h_i\Bigr).$$

A new item knows its own modality alone: it is joined to the k nodes whose items are nearest, and its network is given
$(y, \frac1k \sum_{j \in N_y(y)} (h_j, h'_j))$: among the means is one of the queries of items like it. A query is treated alike.
Messages are means, and all weights lie in the two networks behind them.
"""

from typing import Any, Final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from rdsim.learning.families.dual_encoder import info_nce_encoder
from rdsim.learning.families.pairs import ItemPairs, System, fitted_models
from rdsim.learning.families.stored.embedded_codes import Chain, embeddings_of
from rdsim.learning.families.stored_embeddings import checked_bits, quantized_systems
from rdsim.learning.training.schedule import Schedule
from rdsim.number_types import ArrayLike

_NEIGHBOURS: Final = 8
_NODES: Final = 512
"""Most nodes, and half of the pairs at most: each point is compared with all of them."""
_BLOCK: Final = 256
"""Points whose distances to the nodes are held at a time."""


def neighbour_means(
    points: Float[Array, "n d"], nodes: Float[Array, "m d"], features: Float[Array, "m f"]
) -> Float[Array, "n f"]:
    """Mean features of the nodes nearest to each point."""
    number = min(_NEIGHBOURS, len(nodes))

    def one(point: Array) -> Array:
        nearest = jax.lax.top_k(-jnp.sum((nodes - point) ** 2, axis=-1), number)[1]
        return jnp.mean(features[nearest], axis=0)

    return jax.lax.map(one, points, batch_size=min(_BLOCK, len(points)))


@jax.jit
def pair_graph(
    queries: Float[Array, "m q"], items: Float[Array, "m d"]
) -> tuple[Float[Array, "m q"], Float[Array, "m d"], Float[Array, "m f"]]:
    """Return the nodes' queries, their items, and their features before and after one round of messages."""
    own = jnp.concatenate([queries, items], axis=1)
    means = [neighbour_means(side, side, own) for side in (queries, items)]
    return queries, items, jnp.concatenate([own, 0.5 * (means[0] + means[1])], axis=1)


def item_features(graph: Any, items: ArrayLike) -> Float[Array, "n f"]:
    """Items (N, d), each with the mean features of its neighbours."""
    items = jnp.asarray(items, graph[1].dtype)
    return jnp.concatenate([items, neighbour_means(items, graph[1], graph[2])], axis=1)


def query_features(graph: Any, queries: Any) -> Float[Array, "n 1 f"]:
    """Queries (N, K, d), all modalities one after the other, with the mean features of their neighbours."""
    flat = jnp.asarray(queries, graph[0].dtype).reshape(len(queries), -1)
    return jnp.concatenate([flat, neighbour_means(flat, graph[0], graph[2])], axis=1)[:, None]


def features_of_one(graph: Any, queries: Float[Array, "m d"]) -> Float[Array, "1 f"]:
    """Queries of one item (K, d), with what their neighbours say."""
    return query_features(graph, queries[None])[0]


_with_neighbours = jax.jit(
    lambda graph, queries, items: (query_features(graph, queries), item_features(graph, items))
)


def graph_family(
    keys: Key[Array, " 3"], data: ItemPairs, bits: tuple[int, ...], schedule: Schedule
) -> list[System]:
    """Train dual encoders behind the messages by InfoNCE, and store items as quantized embeddings.

    References:
        Wu, Souza, Zhang, Fifty, Yu and Weinberger (2019), "Simplifying graph convolutional networks", ICML,
        for messages without weights; Hamilton, Ying and Leskovec (2017), "Inductive representation
        learning on large graphs", NIPS, for nodes that training did not see; Yu et al. (2018),
        "Textual relationship modeling for cross-modal information retrieval", for the use.

    """
    number = min(_NODES, len(data.sample[1]) // 2)
    queries, items = (side[:number].reshape(number, -1) for side in data.sample[:2])
    graph = pair_graph(queries, items)
    # A node is among its own neighbours, and its features tell its query: no step may see it.
    rest = tuple(side[number:] for side in data.sample)
    around = ItemPairs(
        *((*_with_neighbours(graph, *part[:2]), part[2]) for part in (rest, data.held_out))
    )
    learner = info_nce_encoder(around)
    # The quantizer is fitted to all items, nodes of the graph included.
    stored = jax.ShapeDtypeStruct((len(data.sample[1]), around.item_size), around.sample[1].dtype)
    checked_bits(bits, stored, learner=learner)
    (model,) = fitted_models(keys[0], learner, around, schedule)
    (to_items, inner), (to_queries, _) = embeddings_of(model)
    of_items = Chain(item_features, to_items), (graph, inner)
    of_queries = Chain(features_of_one, to_queries), (graph, inner)
    return quantized_systems(keys[1], of_items, of_queries, data.sample[1], bits)
