"""Near-duplicate removal: quality, speed and growth, beside text-dedup, Rensa and datatrove.

    python benchmarks/dedup.py --peers .venv/peers/bin/python [--only quality|speed|growth] [--rows N] [--quick]

The same as `tilth bench dedup`, on the corpora beside the repository and up to 20 million short rows.
"""

from __future__ import annotations

import sys

from corpus import DATA
from tilth.cli import app

if __name__ == "__main__":
    data = ["--data", str(DATA)] if DATA.is_dir() else []
    app(["bench", "dedup", "--rows", "20000000", "--out", "benchmarks/results", *data, *sys.argv[1:]])
