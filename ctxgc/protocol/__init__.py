"""The words between fronts and daemon."""
