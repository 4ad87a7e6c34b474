"""From a record to files: the page, the summary and the pictures, none of them begun before all can be written."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from rope_scaling.eval.images import need_plotly
from rope_scaling.eval.report.charts import curve_charts
from rope_scaling.eval.report.commands import checkpoint_name
from rope_scaling.eval.report.findings import findings
from rope_scaling.eval.report.heat import heat_charts
from rope_scaling.eval.report.markdown import link, markdown
from rope_scaling.eval.report.overall import mean_chart, overall
from rope_scaling.eval.report.page import page
from rope_scaling.eval.report.pictures import draw, picture_paths
from rope_scaling.eval.report.record import read_record, record_file
from rope_scaling.eval.report.task_charts import charts_of
from rope_scaling.eval.report.tasks import task_findings
from rope_scaling.eval.report.words import verdict
from rope_scaling.eval.results import refuse_existing, write_whole


@dataclass(frozen=True)
class ReportJob:
    """One call of `rope-scaling report`.

    Attributes:
        record: what `rope-scaling eval -o` wrote, a file or the folder of a run.
        output: the page; beside the record unless given.
        images: folder for every chart as PNG and SVG; None for none.
        summary: the Markdown file; None for none.
    """

    record: Path
    output: Path | None = None
    images: Path | None = None
    summary: Path | None = None
    force: bool = False

    @property
    def page(self) -> Path:
        """Where the page goes."""
        return self.output or record_file(self.record).with_suffix(".html")

    def __post_init__(self) -> None:
        if self.page.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"cannot write {self.page.name!r}: the page is .html")
        if self.summary and self.summary.suffix.lower() != ".md":
            raise ValueError(f"cannot write {self.summary.name!r}: the summary is .md")


def run_report(job: ReportJob) -> tuple[Path, ...]:
    """Write what is asked for and return where it lies.

    Raises:
        ValueError: The record cannot be read, or a file exists and `force` is False.
        ModuleNotFoundError: jinja2 or Plotly is missing; for pictures, kaleido.
    """
    record = read_record(job.record)
    _need(job)
    tasks = task_findings(record)
    whole = overall(record, tasks)
    mean = (mean_chart(record, whole),) if whole else ()
    charts = (*curve_charts(record), *heat_charts(record), *mean, *chain(*charts_of(record, tasks)))
    pictures = picture_paths(charts, job.images) if job.images else []
    targets = [job.page, *([job.summary] if job.summary else []), *(path for _, path in pictures)]
    for path in targets:
        if path.resolve() == record_file(job.record).resolve():
            raise ValueError(f"{path} is the record itself: name another file to write")
        refuse_existing(path, job.force)
    if job.images and job.images.exists() and not job.images.is_dir():
        raise ValueError(f"{job.images} is a file: name a folder for the images")
    found = findings(record)
    verdicts = [verdict(record, one, tasks, whole) for one in found]
    contents = {job.page: page(record, found, verdicts, tasks, whole).encode()}
    if job.summary:
        summary = job.summary
        shown = [(chart, link(path, summary)) for chart, path in pictures if path.suffix == ".png"]
        contents[summary] = markdown(record, found, verdicts, shown, tasks, whole).encode()
    contents |= draw(pictures, checkpoint_name(record))
    for path, content in contents.items():
        try:
            write_whole(path, content, force=job.force)
        except OSError as error:
            told = f"{path} cannot be written: {error.strerror or error}. Make room, or name another place by --output"
            raise OSError(told) from None
    return tuple(contents)


def _need(job: ReportJob) -> None:
    need_plotly()
    if find_spec("jinja2") is None:
        raise ModuleNotFoundError('reports need jinja2: pip install "rope-scaling[report]"')
    if job.images and find_spec("kaleido") is None:
        raise ModuleNotFoundError("--images needs kaleido: pip install kaleido, or leave it out")
