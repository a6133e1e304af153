"""Steps that remove duplicates: exact, near, and of benchmarks."""

from tilth.dedup.minhash import MinHash

__all__ = ["MinHash"]
