"""The bill of a reply, read on the side while the reply streams past."""
