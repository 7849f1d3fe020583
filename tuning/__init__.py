"""Train a LoRA adapter on a data set's own histories: ``whyrank tune``."""

from tuning.options import TuningOptions
from tuning.prompt_writer import PromptWriter
from tuning.training_data import TrainingData, split_for_training
from tuning.tune import TrainingEstimate, tune

__all__ = ["PromptWriter", "TrainingData", "TrainingEstimate", "TuningOptions", "split_for_training", "tune"]
