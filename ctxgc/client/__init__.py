"""For programs that build agents: a client that makes the lists of model APIs fit, blocking and for asyncio."""
