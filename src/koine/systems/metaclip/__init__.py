"""MetaCLIP: CLIP on data that are curated by metadata (arXiv 2309.16671), and its worldwide sequel (2507.22062)."""
