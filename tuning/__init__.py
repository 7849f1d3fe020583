"""Train a LoRA adapter on a data set's own histories: ``whyrank tune``."""

from tuning.options import TuningOptions
from tuning.pipeline import TrainingEstimate, tune
from tuning.progress import TrainingProgress
from tuning.prompt_writer import PromptWriter
from tuning.training_data import TrainingData, split_for_training

__all__ = [
    "PromptWriter",
    "TrainingData",
    "TrainingEstimate",
    "TrainingProgress",
    "TuningOptions",
    "split_for_training",
    "tune",
]
