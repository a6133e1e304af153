"""Steps that rewrite text: one form of Unicode and white space, and text out of HTML."""

from tilth.clean.html import StripHtml
from tilth.clean.normalize import Normalize

__all__ = ["Normalize", "StripHtml"]
