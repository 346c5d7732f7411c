"""A request's body as bytes: what the body says, and the same bytes with tombstones spliced in."""
