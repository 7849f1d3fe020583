"""Benchmarks, one file per layer."""
