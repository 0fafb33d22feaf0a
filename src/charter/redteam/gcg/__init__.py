"""Greedy coordinate gradient (Zou et al. 2023): a suffix of tokens found with the model's own gradients."""

from charter.redteam.gcg.objective import Objective
from charter.redteam.gcg.problem import Problem, problem_of
from charter.redteam.gcg.search import Found, GCGSettings, search

__all__ = ["Found", "GCGSettings", "Objective", "Problem", "problem_of", "search"]
