"""From the record of an evaluation to a page that is read without the machine that made it."""

from rope_scaling.eval.report.job import ReportJob, run_report

__all__ = ["ReportJob", "run_report"]
