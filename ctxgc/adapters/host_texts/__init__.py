"""Host texts: what an agent writes itself in the place of its user, told from what a person typed."""
