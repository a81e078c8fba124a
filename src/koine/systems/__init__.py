"""The eleven systems, one folder each, all with the same rooms; no system imports another."""
