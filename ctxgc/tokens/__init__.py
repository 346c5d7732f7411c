"""Counting tokens offline with the o200k ranks that ship with the package."""
