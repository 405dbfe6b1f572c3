"""Benchmarks of ``autodiff`` beside its rivals, in one run: ``python -m benchmarks``."""
