"""Figures: each file here without a leading underscore draws the saved dataset of one study.

Nothing is computed here; `python -m experiments draw` writes the files.
"""
