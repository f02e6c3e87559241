"""Studies: each file here without a leading underscore computes one labelled dataset.

`python -m experiments list` names them; `python -m experiments figures` computes and draws them.
"""
