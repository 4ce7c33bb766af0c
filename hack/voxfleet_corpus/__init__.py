"""A corpus of malformed, hostile and odd files, each with the verdict that the agent must reach.

`hack/make_corpus.py` writes it to a folder; the tests run it through all stages. Every module except `case`, `sounds`,
`damage` and `folder` holds the cases of one kind of file.
"""
