r"""Checks of the three theorems: relationship, existence, accessibility.

Their names are the paper's (abstract); statements and proofs are this project's own, and stand in
full in the notebooks 03, 04 and 05. Each numbered statement is a function that returns a *slack*,
see `smile_core.theorems.slack`: how far the inequality is from failing, relative to its
right-hand side. Each is checked where its hypotheses hold, and must fail somewhere where they do
not: a check that cannot fail says nothing.
"""
