"""What an index keeps of a row, and how the rows of a step are held against it.

Two steps have a signer. `Exact` keeps the digest of each row. `MinHash` keeps the digest, the keys of its bands, the
sketch and, to verify, the set of its shingles.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets import Dataset

from tilth.dedup._look_up import NOWHERE, LookUp, Nearness, Signed, estimates, located
from tilth.dedup._manifest import Manifest
from tilth.dedup._segment import Keys, Prints
from tilth.dedup.exact import Exact
from tilth.dedup.groups import NULL_TEXT, Deduplicator, Groups, Similarities
from tilth.dedup.minhash import MinHash
from tilth.errors import ArgumentError, SourceError
from tilth.frame import Frame, Rows
from tilth.step import Codes
from tilth.text.strings import Mask, Strings, strings, strings_of
from tilth.text.threads import ordered_map

if TYPE_CHECKING:
    from tilth.dedup._keys import KeyStore
    from tilth.dedup._located import Texts

INDEXED = np.uint8(4)
"""The code of the reason of a row that is in an index, behind those of a `Deduplicator`."""
_ROWS_AT_ONCE = 2_048
_PROBE = (
    "Two households, both alike in dignity, in fair Verona, where we lay our scene: 1597 words, and 2 more.",
    "DIES IRÆ,  dies illa\tsolvet sæclum in favilla; teste David cum Sibylla. Quantus tremor est futurus?",
    "子曰：學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？",
    "if x1 != X2: return {'a': [0x1F, 3.14]}  # 👩‍🚀 cafe\u0301",
    "short",
    "",
)


class Signer(ABC):
    """What an index keeps of the rows of a step.

    Attributes:
        step: whose rows they are.
        parameters: every field that makes the signatures what they are, by name.
        versions: of everything else that does.
        columns: what the step compares.
        threshold: the similarity that the step asks for, where it has any.
        bands: keys of a row.
        places: in a sketch.
        shingled: whether the sets of shingles are kept.
        nearness: when a row is near an indexed one; None where only equal rows count.
    """

    step: Deduplicator
    parameters: dict[str, Any]
    versions: dict[str, int]
    columns: tuple[str, ...]
    threshold: float | None = None
    bands: int = 0
    places: int = 0
    shingled: bool = False
    nearness: Nearness | None = None

    @abstractmethod
    def sign(self, table: pa.Table) -> Signed:
        """The signatures of the rows of a table."""

    @abstractmethod
    def groups(self, ds: Dataset, splits: Sequence[int] | None, found: LookUp) -> Groups:
        """The groups that the step finds in `ds`, while each row is also looked up.

        A row that `found` has in the end goes for `INDEXED`; the others stand for each other as they do without it.
        """

    def sets(self, text: Strings, rows: Rows) -> pa.Array:
        """The sets of shingles of some rows, a list each."""
        raise NotImplementedError

    def alone(self, ds: Dataset, found: LookUp) -> Groups:
        """No groups, but each row looked up."""
        groups = Groups.alone(len(ds))

        def looked(table: pa.Table, first: int) -> None:
            signed = self.sign(table)
            found.look_up(first, signed)
            groups.codes[first : first + table.num_rows] = np.where(signed.valid, 0, NULL_TEXT)

        for _ in Frame.of(ds).map_batches(looked, self.columns):
            pass
        return groups

    @property
    def probe(self) -> str:
        """32 hex digits made of the signatures of a few fixed texts: they tell what a version has left unsaid."""
        signed = self.sign(pa.table(dict.fromkeys(self.columns, pa.array(_PROBE, pa.large_string()))))
        digest = hashlib.blake2b(digest_size=16)
        for values in (signed.digests, signed.keys, signed.prints):
            digest.update(np.ascontiguousarray(values).tobytes())
        if signed.text is not None and self.shingled:
            digest.update(self.sets(signed.text, np.arange(len(_PROBE))).values.to_numpy().tobytes())
        return digest.hexdigest()

    def manifest(self) -> Manifest:
        """Of an index without rows."""
        name = type(self.step).__name__
        return Manifest(name, self.columns, self.threshold, self.parameters, self.versions, _probe_of(self))

    def check(self, manifest: Manifest, where: str) -> None:
        """Refuse an index whose signatures are not those of the step.

        Args:
            manifest: of the index.
            where: what errors call it.

        Raises:
            ArgumentError: a field differs.
        """
        name = type(self.step).__name__
        if manifest.step != name:
            raise ArgumentError(f"{name}: {where} was built by {manifest.step}; use that, or build an index by {name}.")
        for field in dict.fromkeys([*manifest.parameters, *self.parameters]):
            self.check_field(field, self.parameters.get(field), manifest.parameters.get(field), where)

    def check_field(self, field: str, ours: Any, theirs: Any, where: str, hint: str = "") -> None:
        """Refuse an index for which this field was another."""
        if ours != theirs:
            name = type(self.step).__name__
            raise ArgumentError(
                f"{name}: {field}={ours!r} is not allowed, since {where} was built with {field}={theirs!r}; "
                f"use {name}({hint or f'{field}={theirs!r}'}), or build the index again."
            )


class ExactSigner(Signer):
    """Keeps the digest of a row; that two of 128 bits are equal by chance is out of the question."""

    def __init__(self, step: Exact) -> None:
        self.step: Exact = step
        self.columns = step.columns
        self.parameters = {"columns": len(step.columns), "normalize": step.normalize}
        self.versions = {}

    def sign(self, table: pa.Table) -> Signed:
        """The digests."""
        digests, _, valid = self.step._digested(table, 0)
        nothing = np.empty((len(digests), 0), dtype=np.uint8)
        return Signed(valid, digests, np.empty((0, len(digests)), dtype=np.uint64), nothing)

    def check(self, manifest: Manifest, where: str) -> None:
        """Columns may have other names, but not the same names in another order."""
        super().check(manifest, where)
        if set(self.columns) == set(manifest.columns):
            self.check_field("columns", self.columns, manifest.columns, where, ", ".join(map(repr, manifest.columns)))

    def groups(self, ds: Dataset, splits: Sequence[int] | None, found: LookUp) -> Groups:
        """Rows that were found are none to compare others with."""
        step = _LookingExact(*self.columns, normalize=self.step.normalize, keep=self.step.keep)
        step._set(_found=found)
        groups = step.groups(ds, splits)
        groups.codes[found.hits] = INDEXED
        return groups


class _LookingExact(Exact):
    """`Exact` that looks each row up while it has its digest."""

    _found: LookUp

    def __str__(self) -> str:
        return "Exact"

    def _digested(self, table: pa.Table, first: int) -> tuple[npt.NDArray[np.uint64], Rows, Mask]:
        digests, sizes, valid = super()._digested(table, first)
        nothing = np.empty((len(digests), 0), dtype=np.uint8)
        signed = Signed(valid, digests, np.empty((0, len(digests)), dtype=np.uint64), nothing)
        return digests, sizes, valid & ~self._found.look_up(first, signed)


class MinHashSigner(Signer):
    """Keeps the digest, the keys of the bands, the sketch and, where the step verifies, the set of shingles."""

    def __init__(self, step: MinHash) -> None:
        from tilth.dedup._sketch import SKETCH_VERSION
        from tilth.text.words import HASH_VERSION

        self.step: MinHash = step
        self.columns = (step.column,)
        self.threshold = step.threshold
        self.bands, rows = step.shape
        self.places = step.num_perm
        self.shingled = step.verify
        self.parameters = {
            **asdict(step.units),
            "ngram": step.ngram,
            "num_perm": step.num_perm,
            "bands": self.bands,
            "rows": rows,
            "seed": step.seed,
            "verify": step.verify,
        }
        self.versions = {"word hashes": HASH_VERSION, "sketches": SKETCH_VERSION}
        self.nearness = Nearness(step.threshold, step.verify, step.units.mode, step.ngram)

    def sign(self, table: pa.Table) -> Signed:
        """Sketch the texts."""
        from tilth.dedup._sketch import sketch

        text = strings(table, self.step.column, str(self.step))
        keys, prints, digests = sketch(text, self.step._shape)
        return Signed(text.valid, digests, keys, prints, text)

    def sets(self, text: Strings, rows: Rows) -> pa.Array:
        """The sets of shingles of some rows, a list each."""
        from tilth.dedup._shingle_sets import shingle_sets

        offsets, shingles = shingle_sets(located(text, rows), self.step.units.mode, self.step.ngram)
        return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(shingles))

    def check(self, manifest: Manifest, where: str) -> None:
        """A step may ask for more similarity than the bands were chosen for, and need not verify."""
        super().check(manifest, where)
        theirs, before = manifest.parameters, manifest.threshold
        if self.step.verify and not theirs["verify"]:
            raise ArgumentError(
                f"MinHash: verify=True is not allowed, since {where} was built with verify=False and has nothing to "
                f"verify with; use MinHash(verify=False), or build the index again."
            )
        if self.step.shape != (theirs["bands"], theirs["rows"]):
            chosen = f", which are chosen for threshold={self.step.threshold}," if self.step.bands is None else ""
            raise ArgumentError(
                f"MinHash: bands={self.bands}, rows={self.parameters['rows']}{chosen} are not allowed, since {where} "
                f"was built with bands={theirs['bands']}, rows={theirs['rows']}; use "
                f"MinHash(bands={theirs['bands']}, rows={theirs['rows']}), or build the index again."
            )
        if before is not None and self.step.threshold < before:
            share = float(self.step.curve()(self.step.threshold))
            warnings.warn(
                f"MinHash: threshold={self.step.threshold} is below {before}, which the bands of {where} were chosen "
                f"for: of pairs that are just so similar {share:.0%} are found.",
                UserWarning,
                stacklevel=2,
            )

    def check_field(self, field: str, ours: Any, theirs: Any, where: str, hint: str = "") -> None:
        """Refuse an index for which this field was another; some are looked at together."""
        if field not in ("bands", "rows", "verify"):
            super().check_field(field, ours, theirs, where, hint)

    def groups(self, ds: Dataset, splits: Sequence[int] | None, found: LookUp) -> Groups:
        """Groups of the rows that are not found; or with components, groups without those that a found row is in."""
        step = _LookingMinHash(**{field.name: getattr(self.step, field.name) for field in fields(self.step)})
        step._set(_signer=self, _found=found)
        groups = step.groups(ds, splits)
        if self.step.cluster == "component":
            self._spread(Frame.of(ds), groups, found)
        hits = found.hits
        groups.kept[hits], groups.similarity[hits], groups.codes[hits] = hits, found.similarity[hits], INDEXED
        return groups

    def _spread(self, frame: Frame, groups: Groups, found: LookUp) -> None:
        """Let all rows that are connected with one that was found be found with it, or the most similar of several."""
        hits = found.hits
        hits = hits[np.lexsort((hits, -found.similarity[hits]))]
        leaders, first = np.unique(groups.kept[hits], return_index=True)
        nearest = np.full(len(groups.kept), NOWHERE, dtype=np.int64)
        nearest[leaders] = hits[first]
        nearest = nearest[groups.kept]
        rows = np.flatnonzero((nearest != NOWHERE) & (found.stored == NOWHERE))
        found.stored[rows] = found.stored[nearest[rows]]
        parts = [rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE)]

        def compared(part: Rows) -> None:
            found.similarity[part] = self._similar(frame, part, found)

        for _ in ordered_map(compared, parts):
            pass

    def _similar(self, frame: Frame, rows: Rows, found: LookUp) -> Similarities:
        """The similarity of rows and the stored ones that were found for them."""
        text = strings_of(frame.take(self.step.column, rows))
        if self.step.verify:
            here = np.arange(len(rows))
            return found.similar(located(text, here), here, found.stored[rows])
        from tilth.dedup._sketch import sketch

        _, prints, _ = sketch(text, self.step._shape)
        return estimates(found.agreeing(prints, found.stored[rows]), self.places)


class _LookingMinHash(MinHash):
    """`MinHash` that looks each row up while it has its signatures."""

    _signer: MinHashSigner
    _found: LookUp

    def __str__(self) -> str:
        return "MinHash"

    def _sketch(
        self, frame: Frame, texts: Texts, keys: KeyStore, prints: Prints | None, digests: Keys, codes: Codes
    ) -> None:
        def sketched(table: pa.Table, first: int) -> None:
            signed = self._signer.sign(table)
            here = slice(first, first + table.num_rows)
            keys.put(first, signed.keys)
            if prints is not None:
                prints[here] = signed.prints
            digests[here] = signed.digests
            found = self._found.look_up(first, signed)
            # A row with a code is compared with no other; but a component is to be known as a whole.
            codes[here] = np.where(found & (self.cluster == "direct"), INDEXED, ~signed.valid)

        cuts = frame.cuts([self.column])
        for (_, end), _ in zip(cuts, frame.map_batches(sketched, [self.column], cuts), strict=True):
            if keys.spilled:
                texts.release(end)


def signer_of(step: object) -> Signer:
    """The signer of a step.

    Raises:
        ArgumentError: it has none.
    """
    if type(step) is MinHash:
        return MinHashSigner(step)
    if type(step) is Exact:
        return ExactSigner(step)
    raise ArgumentError(f"an index is made of the rows of MinHash or Exact, not of {type(step).__name__}.")


def signer_in(manifest: Manifest, where: str) -> Signer:
    """The signer that an index was built by.

    Raises:
        SourceError: this version of tilth has none that makes the same signatures.
    """
    signer: Signer
    known = dict(manifest.parameters)
    if manifest.step == "MinHash":
        signer = MinHashSigner(MinHash(manifest.columns[0], manifest.threshold or 0.8, **known))
    elif manifest.step == "Exact":
        signer = ExactSigner(Exact(*manifest.columns, normalize=known["normalize"]))
    else:
        raise SourceError(f"{where} was built by {manifest.step}, which this version of tilth does not have.")
    for what, theirs in manifest.versions.items():
        ours = signer.versions.get(what)
        if ours != theirs:
            raise SourceError(
                f"{where} has {what} of version {theirs}, but this version of tilth makes those of version {ours}; "
                f"build it again with Index.build."
            )
    if _probe_of(signer) != manifest.probe:
        raise SourceError(
            f"{where} holds signatures that this version of tilth does not make; build it again with Index.build."
        )
    return signer


def fitting(step: Deduplicator, manifest: Manifest, where: str) -> Signer:
    """The signer of a step, whose rows can be held against those of an index.

    Raises:
        ArgumentError: the step has none, or one of its fields is not as it was when the index was built.
        SourceError: signatures have changed since the index was built.
    """
    signer = signer_of(step)
    signer.check(manifest, where)
    signer_in(manifest, where)
    return signer


_PROBES: dict[str, str] = {}


def _probe_of(signer: Signer) -> str:
    said = json.dumps([type(signer).__name__, signer.parameters])
    if said not in _PROBES:
        _PROBES[said] = signer.probe
    return _PROBES[said]
