"""The machinery of the studies: it finds, computes, stores, checks and draws them.

`discovery` finds studies, `run` computes them and `store` keeps their results. `claims` and `ledger`
check the results; `drawing`, `csv_files` and `gallery` show them; `commands` holds the commands. A
study imports `Claim`, `Check`, `Checkpoint` and `without_checkpoint` from here.
"""

from experiments.runner.claims import Check, Claim
from rdsim.files import Checkpoint, without_checkpoint

__all__ = ["Check", "Checkpoint", "Claim", "without_checkpoint"]
