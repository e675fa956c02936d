"""The options of the command, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[str], typer.Argument(help="CSV, TSV, parquet, Arrow or JSON lines files, or patterns.", metavar="FILE...")
]
Label = Annotated[str, typer.Option("--label", help="Column with the label (two values).")]
Sensitive = Annotated[
    list[str],
    typer.Option(
        "--sensitive",
        metavar="NAME[=VALUE[:LEVEL]]",
        help="Sensitive attribute: column, reference value, level. Repeat for several.",
    ),
]
Bins = Annotated[
    list[str] | None,
    typer.Option(
        "--bins",
        metavar="NAME=EDGE,...",
        help="Cut a number into groups: 'age=18,65'. An edge belongs to the bin below.",
    ),
]
Positive = Annotated[str | None, typer.Option("--positive", help="The label's positive value.")]
Weight = Annotated[str | None, typer.Option("--weight", help="Column with prior weights.")]

Pred = Annotated[str | None, typer.Option("--pred", help="Column with the decision (the label's values).")]
Score = Annotated[str | None, typer.Option("--score", help="Column with scores, or '[p0, p1]': adds the AUROC.")]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="Without --pred: the decision is positive from this score up.")
]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", metavar="NAME,...", help="Rates and disparities in place of the usual ones, or 'all'."),
]
Order = Annotated[int, typer.Option("--order", min=1, help="Groups of up to this many attributes.")]
Confidence = Annotated[float, typer.Option("--confidence", help="Coverage of the intervals.")]
MinGroup = Annotated[int, typer.Option("--min-group", min=0, help="Warn about smaller groups.")]
Ci = Annotated[str, typer.Option("--ci", help="Intervals: closed or bootstrap.")]
NBoot = Annotated[int, typer.Option("--n-boot", min=1, help="Resamples of --ci bootstrap.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the resamples.")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="Column with the person: resample persons, not rows (--ci bootstrap).")
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        metavar="METRIC>LIMIT",
        help="End with code 1 beyond it or where undefined: 'spd>0.1', 'di<0.8'; one-sided 'spd<-0.1', 'di>1.25'.",
    ),
]

Mode = Annotated[str, typer.Option("--mode", help="level, intersection, sequential, marginal, lattice or geometric.")]
Smoothing = Annotated[float, typer.Option("--smoothing", help="Shrink small groups with this prior strength.")]
LatticeOrder = Annotated[
    int, typer.Option("--lattice-order", min=1, help="Mode lattice: balance all subsets of this many attributes.")
]
Importance = Annotated[
    list[str] | None,
    typer.Option("--importance", metavar="NAME=POWER", help="Mode geometric: how much of an attribute, 0 to 1."),
]

Json = Annotated[bool, typer.Option("--json", help="Print only JSON.")]
Card = Annotated[Path | None, typer.Option("--card", help="Also write the section of a model card (.md).")]
