"""Tests of one room each, in the tree of `src/koine`."""
