"""The world: one procedural tabletop scene and every modality of it, with ground truth."""
