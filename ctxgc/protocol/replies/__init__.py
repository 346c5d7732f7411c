"""The daemon's replies as types: one module for each family of verbs."""
