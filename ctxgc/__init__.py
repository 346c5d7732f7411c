"""ctxgc: a garbage collector for the context of LLM sessions."""

__version__ = "0.1.0"
