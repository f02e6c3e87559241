"""What runs the studies: finds, computes, stores, checks and draws them. No number comes from here.

`discovery` finds studies, `run` computes them, `store` keeps results, `drawing` and `gallery` show
them, `claims` and `ledger` judge them, `commands` is what the command line calls. A study imports
`Check`, `Cell` and `call` from here.
"""

from experiments.runner.claims import Check
from rdsim.cli.cells import Cell, call

__all__ = ["Cell", "Check", "call"]
