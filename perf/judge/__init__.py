"""The judge: a small language model that says how many nats an old body saves on the session's real next reply.

    recorded sessions ──sampling──▶ cases: body, placebo, recent text, reply
                                        │
    GGUF ──weights──▶ model, tokenizer ─┴─evaluation──▶ nats of a body over its placebo ──groups──▶ table

The judge is an extra (`pip install -e '.[judge]'`), and no part of continuous integration: docs/design/judge.md.
"""
