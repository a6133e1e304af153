"""Steps that remove duplicates: exact, near, and of benchmarks."""

from tilth.dedup.decontaminate import Decontaminate
from tilth.dedup.exact import Exact
from tilth.dedup.hash_pack import HashPack
from tilth.dedup.index import Index
from tilth.dedup.lines import Lines
from tilth.dedup.minhash import MinHash
from tilth.dedup.not_in import NotIn
from tilth.dedup.pairwise import Pairwise
from tilth.dedup.semantic import Semantic
from tilth.dedup.simhash import SimHash
from tilth.dedup.substring import Substring

__all__ = [
    "Decontaminate",
    "Exact",
    "HashPack",
    "Index",
    "Lines",
    "MinHash",
    "NotIn",
    "Pairwise",
    "Semantic",
    "SimHash",
    "Substring",
]
