"""What a small model learns from one's own histories: ``whyrank tune``."""

from tuning.tune import Data, Estimate, Options, prepare, tune
from tuning.windows import Window, Windows, Writer

__all__ = ["Data", "Estimate", "Options", "Window", "Windows", "Writer", "prepare", "tune"]
