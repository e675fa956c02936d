"""Similar patients in the Challenge 2012 stays of the core's test data: whom they name, and how these fared.

One network on training and validation part of the split of seed 42; the ten most similar of these stays for each stay
of the test part, by the published similarity and with distances in standard deviations. A minute; rows go to
docs/benchmarks/sparse-ehr-neighbours.csv.
"""

import numpy as np
from mortality import ABLATED, DATA, ONE_NETWORK, ROWS, print_rows

from auscult.core.data import Binning, load_cohort
from auscult.core.risk import auroc
from auscult.sparse_ehr import PrismClassifier
from auscult.sparse_ehr.comparison import write_rows
from auscult.sparse_ehr.labels import label_of
from auscult.sparse_ehr.similar import find_similar
from auscult.sparse_ehr.trials import parts_of

K = 10


def main() -> None:
    cohort = load_cohort(DATA)
    label = label_of(cohort, "mortality").astype(np.int64)
    grid = Binning(hours=1.0, end=48.0, empty="keep").apply(cohort)
    rows = parts_of(grid, label, ABLATED)
    known = np.concatenate([rows["train"], rows["validation"]])
    model = PrismClassifier(**ONE_NETWORK, random_state=ABLATED, device="cpu").fit(grid.select(known), label[known])
    found = model.members_[0].findings(grid.select(rows["test"]))
    zeta = model.members_[0].network.prototypes.zeta().item()
    table = []
    for name, kind, scale in (
        ("published similarity", "confident", False),
        ("in standard deviations", "confident", True),
        ("in standard deviations, without confidence", "euclidean", True),
    ):
        near = find_similar(
            found.summary, found.summary_confidence, model.reference_, zeta, K, kind=kind, scale=scale, device="cpu"
        )
        times = np.bincount(near.index.ravel(), minlength=len(known))
        table.append(
            {
                "similarity": name, "stays": len(near.index), "training stays": len(known), "k": K,
                "different neighbours": int((times > 0).sum()),
                "lists with the commonest": times.max() / len(near.index),
                "auroc of their outcomes": float(auroc(label[rows["test"]] == 1, near.label.mean(1))),
            }
        )  # fmt: skip
    write_rows(ROWS / "sparse-ehr-neighbours.csv", table)
    print_rows(table)


if __name__ == "__main__":
    main()
