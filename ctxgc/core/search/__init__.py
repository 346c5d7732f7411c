"""Search as values in, values out: lexemes of texts, queries, scores, excerpts. Engines only look lexemes up.

text  ──lexemes───▶ what every engine's index holds of the text
query ──parse─────▶ SearchQuery(terms, phrase, required, excluded, filters)
query, candidate fields ──ranking──▶ scores
query, text ──excerpts──▶ the ranges of lines that answer best, and a snippet with its matches highlighted
"""
