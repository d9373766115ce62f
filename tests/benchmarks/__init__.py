"""Benchmarks: scripts that print ratios of times measured in one run; the tests only make sure that they run."""
