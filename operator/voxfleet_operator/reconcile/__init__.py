"""One folder a kind, each of which gathers from caches, decides with pure functions, and acts."""
