"""VQ-VAE: pictures and signals as grids of discrete codes, and a prior that draws new grids (arXiv 1711.00937)."""
