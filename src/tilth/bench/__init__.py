"""What the benchmarks are made of: corpora with known answers, a slow reference, and other tools run beside ours."""

THRESHOLD = 0.8
"""The similarity at which tools are compared."""
