"""Two runs on the same questions and texts, judged pair by pair."""

from rope_scaling.eval.comparison.job import CompareJob, run_compare

__all__ = ["CompareJob", "run_compare"]
