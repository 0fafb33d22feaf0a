"""Evaluation: suites of samples, the runner that measures a model on them, comparison and the gate."""

from charter.evaluation.suites.samples import Sample, load_suite, suite_digest, suite_names

__all__ = ["Sample", "load_suite", "suite_digest", "suite_names"]
