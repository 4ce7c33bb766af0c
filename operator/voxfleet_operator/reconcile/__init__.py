"""One folder per kind. Each gathers from caches, decides with pure functions, and acts."""
