"""Building blocks that two or more systems use; what only one uses lives with it."""
