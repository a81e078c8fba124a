"""SPAE: a picture as a pyramid of words that a frozen language model can read and write (arXiv 2306.17842)."""
