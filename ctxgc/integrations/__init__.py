"""Hooks for agent frameworks, a module each, imported by whoever uses the framework: `ctxgc.integrations.langchain`.

Each hook edits what the model is sent, and nothing that the framework keeps: results that left stay in its history.
"""
