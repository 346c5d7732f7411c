"""How many examples a property is tried on, by the profile that `CTXGC_HYPOTHESIS` names.

check   what `make check` runs with: every law, on a few examples
test    what everything else runs with: `make test`, CI, pytest by itself
deep    for a night
"""

from hypothesis import settings

EXAMPLES = {"check": 10, "test": 40, "deep": 1000}


def effort(examples: int) -> settings:
    """For a law whose examples are dearer or cheaper than others: so many in `test`, and in proportion elsewhere."""
    return settings(max_examples=max(1, examples * settings().max_examples // EXAMPLES["test"]))
