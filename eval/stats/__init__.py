"""What measured numbers can and cannot tell: intervals, paired tests, corrections, effective lengths."""

from rope_scaling.eval.intervals import wilson
from rope_scaling.eval.stats.corrections import holm
from rope_scaling.eval.stats.effective import THRESHOLDS, Answer, EffectiveLength, effective_length
from rope_scaling.eval.stats.intervals import Interval, nll_interval, score_interval
from rope_scaling.eval.stats.paired import PairedDifference, mcnemar, paired_nll, paired_scores

__all__ = [
    "THRESHOLDS",
    "Answer",
    "EffectiveLength",
    "Interval",
    "PairedDifference",
    "effective_length",
    "holm",
    "mcnemar",
    "nll_interval",
    "paired_nll",
    "paired_scores",
    "score_interval",
    "wilson",
]
