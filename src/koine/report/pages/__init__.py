"""Each system's page of the tour."""
