"""Wire formats: requests of model APIs, parsed with the place of every value, spliced, and rendered."""
