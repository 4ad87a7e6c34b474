"""The tables and the picture of what `benchmarks/quality.py` has measured.

python benchmarks/quality_report.py quality.jsonl --markdown quality.md --summary summary.md \
    --picture docs/pictures/quality
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from quality_picture import draw
from quality_rows import studies_of, title_of
from quality_tables import summary, tables

from rope_scaling.eval.images import write_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--against", default="yarn", help="the scheme that answers to questions are compared with")
    parser.add_argument("--tasks", help="which to show; all unless given")
    parser.add_argument("--markdown", type=Path, help="where to write a table for each checkpoint and factor")
    parser.add_argument("--summary", type=Path, help="where to write one table of all, a row a scheme")
    parser.add_argument("--picture", type=Path, help="written as .svg and .png")
    args = parser.parse_args()
    rows = [json.loads(line) for path in args.runs for line in path.read_text("utf-8").splitlines()]
    shown = {"perplexity", *args.tasks.split(",")} if args.tasks else {row["measure"] for row in rows}
    studies = studies_of([row for row in rows if row["measure"] in shown])
    text = "\n\n".join(tables(title_of(key), found, args.against) for key, found in studies.items())
    print(text)
    if args.markdown:
        args.markdown.write_text(text + "\n", encoding="utf-8")
    studies = {key: found for key, found in studies.items() if any(measure == "perplexity" for _, measure in found)}
    if args.summary:
        args.summary.write_text(summary(studies) + "\n", encoding="utf-8")
    for kind in (".svg", ".png") if args.picture else ():
        write_figure(draw(studies), args.picture.with_suffix(kind), title="What each scheme is worth", force=True)


if __name__ == "__main__":
    main()
