"""The `ctxgc` command."""
