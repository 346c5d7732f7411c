"""What fronts and daemon may say to each other."""
