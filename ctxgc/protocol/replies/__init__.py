"""What the daemon answers, as types: one module for each family of verbs."""
