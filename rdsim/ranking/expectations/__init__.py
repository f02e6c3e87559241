"""Expectations over the number of competitors that win, which the losses of the rank are made of."""
