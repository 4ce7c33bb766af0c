"""Real servers for development, the demo, the tests and the benchmarks. Never shipped in the wheel."""
