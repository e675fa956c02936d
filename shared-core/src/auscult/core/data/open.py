"""Opening a data set by name."""

import difflib
import importlib
from pathlib import Path
from typing import Any

from auscult.core.data.cohort import Cohort
from auscult.core.data.options import check_options
from auscult.core.errors import InputError

# Name -> module with ``load(path: Path | None, **options) -> Cohort``.
READERS = {
    "cdsl": "auscult.core.data.cdsl",
    "challenge2012": "auscult.core.data.challenge2012",
    "eicu": "auscult.core.data.eicu",
    "meds": "auscult.core.data.meds",
    "mimic3": "auscult.core.data.mimic3",
    "mimic4": "auscult.core.data.mimic4",
    "table": "auscult.core.data.table",
    "tjh": "auscult.core.data.tjh",
}


def load_cohort(spec: str, **options: Any) -> Cohort:
    """Return the data set that ``spec`` names.

    Parameters
    ----------
    spec
        ``"tjh"``: the bundled Tongji Hospital COVID-19 cohort, 361 patients.
        ``"tjh:FILE"``: the same from one of the original workbooks (needs the extra ``xlsx``).
        ``"challenge2012:FOLDER"``: sets of the PhysioNet Challenge 2012, as text files, archives or tables.
        ``"cdsl:FOLDER"``: COVID Data Save Lives of HM Hospitales, any of its three releases.
        ``"meds:FOLDER"``: a data set in the Medical Event Data Standard.
        ``"eicu:FOLDER"``, ``"mimic3:FOLDER"``, ``"mimic4:FOLDER"``: stays in intensive care (need the extra ``data``).
        ``"table:FILE"``: measurements of your own, long or wide, as CSV or parquet.
    **options
        Passed to the reader: ``sheet="375"`` or ``sheet="110"`` for ``tjh``.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        Where the name, an option or the file is not what the reader knows.

    Examples
    --------
    >>> load_cohort("tjh")
    Cohort(361 records, 361 subjects, 1704 steps, 73 features)
    >>> load_cohort("tjh", sheet="110")
    Cohort(110 records, 110 subjects, 391 steps, 3 features)
    """
    name, colon, path = spec.partition(":")
    if name not in READERS:
        near = difflib.get_close_matches(name.lower(), READERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"there is no data set {name!r}; {hint}known are: {', '.join(sorted(READERS))}")
    if colon and not path:
        raise InputError(f"{spec!r} names no file after the colon: give {name}:FILE, or {name} alone")
    load = importlib.import_module(READERS[name]).load
    file = Path(path).expanduser() if path else None
    check_options(name, load, options)
    cohort: Cohort = load(file, **options)
    return cohort
