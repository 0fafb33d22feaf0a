"""The reward-hacking watch: proxy against held-out truth at looks inside a training, and what follows from them."""

from charter.evaluation.hacking.watch import SUMMARY, RewardWatch, Subject, Watched

__all__ = ["SUMMARY", "RewardWatch", "Subject", "Watched"]
