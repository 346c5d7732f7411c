"""The verbs of `ctxgc/1`: validated params in, the one owner of the state asked, what came of it described."""
