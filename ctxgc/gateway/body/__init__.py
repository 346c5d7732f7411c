"""A request's body as bytes: its contents, and the same bytes with tombstones spliced in."""
