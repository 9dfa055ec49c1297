"""Benchmarks: one file a question, answered as ratios within one run. Nothing here is a test."""
