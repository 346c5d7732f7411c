"""The daemon's replies as types: a module for each family of verbs."""
