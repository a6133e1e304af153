"""The S-curve of banded MinHash: how likely a pair of a given similarity is to become a candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tilth.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Curve:
    """The probability that two texts share a bucket, which rises from 0 to 1 around the threshold.

    More bands move it to the left (fewer pairs are missed, more candidates are compared in vain), more rows in a band
    to the right.

    Attributes:
        threshold: the similarity at which texts are to be found.
        bands: buckets that each text goes into.
        rows: places of the sketch that make one bucket key.
    """

    threshold: float
    bands: int
    rows: int

    def __call__(self, similarity: float | npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The probability at one similarity or several: `1 - (1 - s ** rows) ** bands`."""
        return np.asarray(1 - (1 - np.asarray(similarity, dtype=np.float64) ** self.rows) ** self.bands)

    @property
    def at_threshold(self) -> float:
        """The probability at the threshold."""
        return float(self(self.threshold))

    @property
    def middle(self) -> float:
        """The similarity at which every second pair is found."""
        return float((1 - 0.5 ** (1 / self.bands)) ** (1 / self.rows))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curve with the threshold in it, on new axes or on those given.

        Raises:
            MissingExtraError: matplotlib is absent.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise MissingExtraError("Curve.plot", "matplotlib", "benchmarks") from None
        at = np.linspace(0, 1, 401)
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        below = at < self.threshold
        ax.fill_between(at[below], self(at[below]), color="C1", alpha=0.25, lw=0, label="compared in vain")
        ax.fill_between(at[~below], self(at[~below]), 1, color="C3", alpha=0.4, lw=0, label="missed")
        ax.plot(at, self(at), color="C0", lw=2)
        ax.axvline(self.threshold, color="0.4", lw=1, ls="--")
        ax.plot([self.threshold], [self.at_threshold], "o", color="C0")
        ax.annotate(
            f"{self.at_threshold:.1%} at the threshold {self.threshold:g}",
            (self.threshold, self.at_threshold),
            (-12, -4),
            textcoords="offset points",
            ha="right",
            va="top",
        )
        ax.set(
            xlim=(0, 1),
            ylim=(0, 1.02),
            xlabel="Jaccard similarity of two texts",
            ylabel="probability that they are compared",
            title=f"{self.bands} bands of {self.rows} rows",
        )
        ax.legend(loc="upper left", frameon=False)
        return ax

    def __repr__(self) -> str:
        return (
            f"Curve({self.bands} bands of {self.rows} rows: at the threshold {self.threshold:g} a pair is found with "
            f"probability {self.at_threshold:.3f})"
        )

    def _repr_html_(self) -> str:
        def point(similarity: float) -> str:
            return f"{40 + 300 * similarity:.1f},{170 - 150 * float(self(similarity)):.1f}"

        line = " ".join(point(similarity) for similarity in np.linspace(0, 1, 101))
        mark = 40 + 300 * self.threshold
        return (
            '<svg width="360" height="210" role="img" font-family="sans-serif" font-size="11" fill="currentColor">'
            f"<title>{self!r}</title>"
            '<path d="M40 20V170H340" fill="none" stroke="currentColor"/>'
            f'<path d="M{mark} 20V170" stroke="currentColor" stroke-dasharray="4"/>'
            f'<polyline points="{line}" fill="none" stroke="#1f77b4" stroke-width="2"/>'
            f'<text x="{mark}" y="14" text-anchor="middle">{self.at_threshold:.1%} at {self.threshold:g}</text>'
            '<text x="34" y="24" text-anchor="end">1</text><text x="34" y="174" text-anchor="end">0</text>'
            '<text x="40" y="186" text-anchor="middle">0</text><text x="340" y="186" text-anchor="middle">1</text>'
            '<text x="190" y="204" text-anchor="middle">similarity of two texts</text></svg>'
        )
