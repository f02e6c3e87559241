"""The command rdsim: `limit`, `gap`, and the commands about studies where a checkout is present.

`app` reads the command line; `limit` and `gap` are its commands; the other modules read tables, keep
finished parts of the work, answer Ctrl-C and say where a file comes from.
"""
