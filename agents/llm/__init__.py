"""The generator that asks a language model for candidates; `generator.py` is the way in."""
