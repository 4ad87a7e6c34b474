"""What measured numbers can and cannot tell: intervals, paired tests, corrections, effective lengths."""

from rope_scaling.eval.intervals import wilson
from rope_scaling.eval.stats.corrections import holm
from rope_scaling.eval.stats.effective import THRESHOLDS, Answer, EffectiveLength, effective_length
from rope_scaling.eval.stats.intervals import Interval, block_interval, nll_interval, score_interval
from rope_scaling.eval.stats.means import averaged, mean_interval
from rope_scaling.eval.stats.paired import PairedDifference, paired_blocks, paired_nll, paired_scores
from rope_scaling.eval.stats.shares import mcnemar, paired_answers, paired_shares

__all__ = [
    "THRESHOLDS",
    "Answer",
    "EffectiveLength",
    "Interval",
    "PairedDifference",
    "averaged",
    "block_interval",
    "effective_length",
    "holm",
    "mcnemar",
    "mean_interval",
    "nll_interval",
    "paired_answers",
    "paired_blocks",
    "paired_nll",
    "paired_scores",
    "paired_shares",
    "score_interval",
    "wilson",
]
