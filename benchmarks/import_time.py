"""How much longer `import tilth` takes than `import datasets` alone: medians of several fresh processes, in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

RUNS = 7


def seconds(code: str) -> float:
    """What a fresh interpreter says of the time it took."""
    whole = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    return float(subprocess.run([sys.executable, "-c", whole], check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print the medians."""
    without, imported, first_use = [], [], []
    for _ in range(RUNS):
        without.append(seconds("import datasets"))
        imported.append(seconds("import datasets, tilth"))
        first_use.append(
            seconds("import datasets, tilth; tilth.Pipeline, tilth.filters.WordCount, tilth.dedup.MinHash")
        )
    medians = [statistics.median(times) for times in (without, imported, first_use)]
    print(
        json.dumps(
            {
                "import_datasets_s": round(medians[0], 3),
                "import_tilth_beyond_s": round(medians[1] - medians[0], 3),
                "with_pipeline_and_steps_beyond_s": round(medians[2] - medians[0], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
