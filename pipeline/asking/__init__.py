"""Questions to a cube: which points meet a wish, at what cost, and with what certainty."""

from pipeline.asking.answer import Answer, ask

__all__ = ["Answer", "ask"]
