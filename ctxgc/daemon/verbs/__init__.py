"""The verbs of `ctxgc/1`: validated params in, the state's owner asked, a typed reply out."""
