"""The stash: every segment, durable and searchable."""
