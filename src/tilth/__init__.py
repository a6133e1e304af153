"""Dataset engineering on Hugging Face `datasets`: curate, deduplicate, clean, format, inspect and publish."""

__version__ = "0.1.0"
