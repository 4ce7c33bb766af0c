"""A package, so that what its tests share ends before those of other folders begin: pytest knows no folder."""
