"""Run the command: python -m rdsim."""

from rdsim.cli.app import entry

if __name__ == "__main__":
    entry()
