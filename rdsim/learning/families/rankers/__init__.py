"""More ways to rank stored items: metrics, kernels, fused ranks, and a generator of items.

Each module is one family; `catalogue` lists them.
"""
