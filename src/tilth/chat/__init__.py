"""Conversations: messages out of the usual column layouts, and messages through a model's chat template."""

from tilth.chat.apply_template import ApplyTemplate, TemplateError
from tilth.chat.layout import Layout
from tilth.chat.messages import ToMessages

__all__ = ["ApplyTemplate", "Layout", "TemplateError", "ToMessages"]
