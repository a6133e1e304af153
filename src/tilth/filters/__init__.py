"""Steps that keep or drop a row by what it says: its length, and heuristics of quality."""

from tilth.filters.gopher import GopherQuality
from tilth.filters.length import WordCount

__all__ = ["GopherQuality", "WordCount"]
