"""Redaction: credentials in a text, found by their form, by their name or by their place, and what stands for each."""
