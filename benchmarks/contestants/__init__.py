"""The contestants: one module each, with its ways to a derivative (see ``benchmarks.ways``)."""
