"""Weights out of every kind of file: `opening.open_checkpoint` gives a `Checkpoint`, whatever its format.

One module a format says what network a file holds and gives its arrays under our variables' names; `matching` alone
puts arrays into a model, all of them or none.
"""
