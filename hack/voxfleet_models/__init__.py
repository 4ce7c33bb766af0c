"""Tiny models of mlx-audio's families with random weights, for tests: they load and run, and their output is noise."""

from voxfleet_models.families import FAMILIES as FAMILIES
from voxfleet_models.families import make_model as make_model
