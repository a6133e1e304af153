"""What texts are made of when they are compared: words or characters, folded or as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from tilth.step import Step, require

Unit: TypeAlias = Literal["word", "char"]
Preset: TypeAlias = Literal["code", "math", "web", "chat"]


@dataclass(frozen=True)
class Units:
    """How a text is cut into the units that n-grams are made of.

    Attributes:
        unit: `word`: the words of `tilth.text.words`; in scripts without spaces each character is one. `char`: each
            code point that is neither white space nor a control character.
        fold_case: whether upper and lower case are the same.
        fold_numbers: whether each run of digits is the same number.
        punctuation: whether each punctuation mark or symbol between words is a unit, too; those of `char` always are.
    """

    unit: Unit = "word"
    fold_case: bool = True
    fold_numbers: bool = False
    punctuation: bool = False

    @property
    def mode(self) -> int:
        """These as the bits that `hash_units` takes; 0 for what the shared tokeniser does by itself."""
        chars = 1 if self.unit == "char" else 0
        return chars | (0 if self.fold_case else 2) | (4 if self.fold_numbers else 0) | (8 if self.punctuation else 0)


PRESETS: dict[str, Units] = {
    "code": Units(fold_case=False, punctuation=True),
    "math": Units(fold_case=False, punctuation=True),
    "web": Units(fold_numbers=True),
    "chat": Units(),
}
"""`code` and `math` tell `x` from `X` and see operators; `web` takes dates, prices and counters for the same; `chat` is
what is done without a preset: words without case and punctuation, numbers as they are."""


class WithUnits(Protocol):
    """The fields of a step that cuts texts into units; None is what the preset says."""

    @property
    def unit(self) -> Unit: ...  # noqa: D102
    @property
    def preset(self) -> Preset | None: ...  # noqa: D102
    @property
    def fold_case(self) -> bool | None: ...  # noqa: D102
    @property
    def fold_numbers(self) -> bool | None: ...  # noqa: D102
    @property
    def punctuation(self) -> bool | None: ...  # noqa: D102


def units_of(step: WithUnits) -> Units:
    """The units that a step works on: its preset, and whatever it says itself."""
    preset = PRESETS[step.preset] if step.preset is not None else Units()

    def said(own: bool | None, otherwise: bool) -> bool:
        return otherwise if own is None else own

    return Units(
        step.unit,
        said(step.fold_case, preset.fold_case),
        said(step.fold_numbers, preset.fold_numbers),
        said(step.punctuation, preset.punctuation),
    )


def check_units(step: Step) -> None:
    """Refuse units that there are not.

    Raises:
        ArgumentError: a field is none of those allowed.
    """
    require(getattr(step, "unit", None) in ("word", "char"), step, "unit", "'word' or 'char'")
    preset = getattr(step, "preset", None)
    require(preset is None or preset in PRESETS, step, "preset", f"None or one of {list(PRESETS)}")
    for field in ("fold_case", "fold_numbers", "punctuation"):
        value = getattr(step, field, None)
        require(value is None or isinstance(value, bool), step, field, "True, False, or None for what the preset says")
