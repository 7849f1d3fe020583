"""What a small model learns from one's own histories: ``whyrank tune``."""

from tuning.choices import Choice
from tuning.data import Data, prepare
from tuning.options import Options
from tuning.pipeline import Estimate, Told, tune
from tuning.training import Progress
from tuning.windows import Window, Windows, Writer

__all__ = [
    "Choice",
    "Data",
    "Estimate",
    "Options",
    "Progress",
    "Told",
    "Window",
    "Windows",
    "Writer",
    "prepare",
    "tune",
]
