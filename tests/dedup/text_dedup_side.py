"""text-dedup's side of the comparison: its own functions on the rows of a Parquet file, and what they gave, as JSON.

    python -P text_dedup_side.py ROWS.parquet '{"threshold": 0.7, "num_perm": 250, "ngram": 5}'

It is run by an interpreter that has text-dedup, since importing it changes how processes are started.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict

import numpy as np
import pyarrow.parquet as pq
from text_dedup.minhash import NON_ALPHA, RNG, SIGNATURE_COLUMN, embed_func
from text_dedup.utils import UnionFind, ngrams, optimal_param, sha1_hash


def main() -> None:
    """Sign, band and connect, as `text_dedup.minhash.main` does."""
    texts = pq.read_table(sys.argv[1])["text"].to_pylist()
    asked = json.loads(sys.argv[2])
    perms, ngram, least = asked["num_perm"], asked["ngram"], asked.get("min_length", 1)
    bands, rows = asked.get("shape") or optimal_param(asked["threshold"], perms)
    prime = np.uint64((1 << 61) - 1)
    permutations = (
        RNG.randint(1, prime, size=(perms,), dtype=np.uint64),
        RNG.randint(0, prime, size=(perms,), dtype=np.uint64),
    )
    tables, connected = [defaultdict(set) for _ in range(bands)], UnionFind()
    for row, text in enumerate(texts):
        made = embed_func(
            text,
            row,
            num_perm=perms,
            ngram_size=ngram,
            min_length=least,
            hashranges=[(band * rows, (band + 1) * rows) for band in range(bands)],
            permutations=permutations,
            hash_func=lambda data: sha1_hash(data, d=32),
            dtype=np.uint64,
            max_hash=np.uint32((1 << 32) - 1),
            modulo_prime=prime,
        )
        for table, key in zip(tables, made[SIGNATURE_COLUMN], strict=True):
            table[key].add(row)
    for table in tables:
        for together in table.values():
            for row in together:
                connected.union(row, min(together))
    numbers: dict[str, int] = {}
    shingles = [
        sorted(
            {numbers.setdefault(" ".join(n), len(numbers)) for n in ngrams(NON_ALPHA.split(text.lower()), ngram, least)}
        )
        for text in texts
    ]
    said = {
        "shape": [bands, rows],
        "clusters": [connected.find(row) for row in range(len(texts))],
        "shingles": shingles,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
