"""One reconciler a kind: gather from caches, decide with a pure function, act."""
