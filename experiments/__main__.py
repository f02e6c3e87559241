"""Run the command in a checkout: python -m experiments, which is the same as rdsim."""

from rdsim.cli.app import entry

if __name__ == "__main__":
    entry()
