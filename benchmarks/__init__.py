"""Speed, side by side in one run: `python -m benchmarks`; no test asserts a time.

One file a benchmark, each with TITLE, two Configs (SMOKE for tests, FULL) and run(config) -> rows.
Peers are an optional extra; one that is missing leaves a row that says so.
"""
