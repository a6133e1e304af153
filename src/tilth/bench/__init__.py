"""What the benchmarks are made of: corpora with known answers, a slow reference, and other tools run beside ours."""
