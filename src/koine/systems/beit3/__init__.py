"""BEiT-3: one transformer for images, texts and both, trained by masking alone (arXiv 2208.10442)."""
