"""Training: a recipe of stages goes in, a folder with a finished model per stage comes out."""

from koine.training.data import TrainingData
from koine.training.errors import DivergedError, TrainingStopped
from koine.training.recipe import Recipe
from koine.training.runner import run
from koine.training.stage import Stage

__all__ = ["DivergedError", "Recipe", "Stage", "TrainingData", "TrainingStopped", "run"]
