"""The hourly rows of eICU that published studies use, made again with the faults of their scripts.

The scripts are the eICU benchmark's (mostafaalishahi/eICU_Benchmark) as yhzhu99/ehr-datasets keeps them. What they
do, and this module with them:

- patients of 18 to 89 years (over 89 counts as 90, so that they go) with one unit stay left;
- at one time the largest value of a variable counts, and a text among them makes it missing;
- glucose moves to the row before: each row shows the next row's, which is a look into the future;
- hours are cut towards zero; of each hour the last row is kept, its gaps filled with the hour's means;
- stays with fewer than 15 or more than 200 such rows go, rows before the second hour and after discharge too;
- invasive and other blood pressures are one variable, values are clipped, oxygen stays in per cent;
- height and weight of the admission, clipped, stand in every row.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from auscult.core.data.cohort import AttritionRow, Cohort
from auscult.core.data.feature import Feature
from auscult.core.data.ragged import gather
from auscult.core.data.stays import keep_stays
from auscult.core.data.tree import Tree
from auscult.core.errors import InputError

# Name, unit, bounds that values are clipped to. The scores decide which rows there are, and are then left out.
COLUMNS: tuple[tuple[str, str | None, float, float], ...] = (
    ("admissionheight", "cm", 100, 240),
    ("admissionweight", "kg", 30, 250),
    ("Heart Rate", "/min", 0, 350),
    ("MAP (mmHg)", "mmHg", 14, 330),
    ("Invasive BP Diastolic", "mmHg", 0, 375),
    ("Invasive BP Systolic", "mmHg", 0, 375),
    ("O2 Saturation", "%", 0, 100),
    ("Respiratory Rate", "/min", 0, 100),
    ("Temperature (C)", "°C", 26, 45),
    ("glucose", "mg/dL", 33, 1200),
    ("FiO2", "%", 15, 110),
    ("pH", None, 6.3, 10),
)
SCORES = ("Motor", "Eyes", "GCS Total", "Verbal")
_LABELS = (
    "Glasgow coma score", "Heart Rate", "O2 Saturation", "Respiratory Rate", "MAP (mmHg)", "Arterial Line MAP (mmHg)",
)  # fmt: skip
_NAMES = (
    "Non-Invasive BP Systolic", "Invasive BP Systolic", "Non-Invasive BP Diastolic", "Invasive BP Diastolic",
    "Temperature (C)", "Temperature (F)",
)  # fmt: skip
_FEWEST, _MOST = 15, 200


def build_seed(tree: Tree, *, hours: float | None, min_hours: float, provenance: dict[str, str]) -> Cohort:
    """Return the cohort of the scripts' hourly rows.

    Parameters
    ----------
    tree
        With the views ``nursecharting`` and ``lab`` and the table ``every_stay`` of :mod:`auscult.core.data.eicu`.
    hours
        Rows from this hour on are left out, at the very end; None keeps all.
    min_hours
        The least length of a stay.
    provenance
        Of the cohort.
    """
    attrition = _choose_stays(tree, min_hours)
    measured = [name for name, *_ in COLUMNS[2:]]
    _make_rows(tree, [*measured, *SCORES])
    attrition += _keep_rows(tree, hours)
    stays = tree.batches(
        "SELECT stay, subject, sex::DOUBLE AS sex, age::DOUBLE AS age, mortality::BIGINT AS mortality, "
        "mortality_unit::BIGINT AS mortality_unit FROM candidates WHERE stay IN (SELECT stay FROM kept) ORDER BY stay"
    ).read_all()
    columns = ["raw_height", "raw_weight", *(f"c{i}" for i in range(len(measured)))]
    clipped = ", ".join(
        f"CASE WHEN {column} IS NOT NULL THEN least(greatest({column}, {low!r}), {high!r}) END AS {name!r}"
        for column, (name, _, low, high) in zip(columns, COLUMNS, strict=True)
    )
    rows = tree.batches(
        f"SELECT stay, hour, minutes / 1440 - hour / 24 AS remaining, {clipped} FROM kept JOIN candidates USING (stay) "
        "ORDER BY stay, hour"
    ).read_all()
    record, hour = np.searchsorted(stays["stay"].to_numpy(), rows["stay"].to_numpy()), rows["hour"].to_numpy()
    table = np.column_stack([_floats(rows, name) for name, *_ in COLUMNS])
    # All cells, empty ones too: a row that held scores alone is a step without a value.
    each = len(COLUMNS)
    read = gather(
        np.repeat(record, each),
        np.repeat(hour, each),
        np.tile(np.arange(each), len(hour)),
        table.ravel(),
        records=stays.num_rows,
        features=each,
    )
    remaining = np.full(read.time.shape, np.nan, np.float32)
    remaining[np.arange(read.time.shape[1]) < read.length[:, None]] = _floats(rows, "remaining")
    return Cohort(
        record_id=stays["stay"].to_numpy(),
        subject_id=np.array(stays["subject"].to_pylist()),
        time=read.time,
        values=read.values,
        length=read.length,
        features=tuple(Feature(name, unit=unit) for name, unit, _, _ in COLUMNS),
        static=np.column_stack([_floats(stays, "sex"), _floats(stays, "age")]).astype(np.float32),
        static_features=(
            Feature("sex", kind="categorical", levels=("female", "male")),
            Feature("age", unit="years", decimals=0),
        ),
        labels={
            "mortality": stays["mortality"].to_numpy(),
            "mortality_unit": stays["mortality_unit"].to_numpy(),
            "los_days": remaining,
        },
        attrition=tuple(attrition),
        provenance={**provenance, "hours": str(hours)},
        notes=("glucose is that of the next row: the preset shows the future, as the scripts did", *tree.notes),
    )


def _choose_stays(tree: Tree, min_hours: float) -> list[AttritionRow]:
    """Create the table ``candidates`` of the stays that the scripts take, whatever their events."""
    tree.run("CREATE TEMP TABLE candidates AS SELECT * FROM every_stay")
    left = tree.count("candidates")
    read = AttritionRow("read unit stays", left, left, 0, f"stays: every one of {tree.folder.name}")
    once = "subject IN (SELECT subject FROM candidates GROUP BY subject HAVING count(*) = 1)"
    rules = (
        ("adults up to 89", "age BETWEEN 18 AND 89", "stays: younger, older or of unknown age"),
        ("one stay per patient", once, "stays: of patients with several left"),
        ("known sex", "sex IS NOT NULL", "stays: of no sex, or of another than male and female"),
        ("known outcome", "mortality + mortality_unit IS NOT NULL", "stays: nobody knows whether they ended in death"),
        ("drop short stays", f"minutes > 0 AND minutes >= {min_hours * 60!r}", f"stays: shorter than {min_hours:g} h"),
    )
    return keep_stays(tree, rules, read)


def _make_rows(tree: Tree, names: list[str]) -> None:
    """Create the table ``hourly``: a row an hour of a stay, a column ``c0``, ``c1``, ... a variable."""
    cells = ", ".join(
        f"CASE WHEN count(*) FILTER (item = {name!r}) = count(value) FILTER (item = {name!r}) "
        f"THEN max(value) FILTER (item = {name!r}) END AS c{i}"
        for i, name in enumerate(names)
    )
    glucose = names.index("glucose")
    columns = [f"c{i}" for i in range(len(names))]
    filled = ", ".join(f"coalesce({column}, avg({column}) OVER hour_rows) AS {column}" for column in columns)
    tree.run(f"""
        CREATE TEMP TABLE hourly AS
        WITH charted AS (
            SELECT patientunitstayid AS stay, nursingchartoffset AS minute,
                CASE WHEN nursingchartcelltypevallabel = 'Arterial Line MAP (mmHg)' THEN 'MAP (mmHg)'
                    WHEN nursingchartcelltypevalname = 'Value' THEN nursingchartcelltypevallabel
                    WHEN nursingchartcelltypevalname = 'Temperature (F)' THEN 'Temperature (C)'
                    ELSE replace(nursingchartcelltypevalname, 'Non-Invasive BP', 'Invasive BP') END AS item,
                TRY_CAST(trim(nursingchartvalue) AS DOUBLE) AS number,
                nursingchartcelltypevalname = 'Temperature (F)' AS fahrenheit
            FROM nursecharting
            WHERE nursingchartcelltypevallabel IN {_LABELS} OR nursingchartcelltypevalname IN {_NAMES}
        ), events AS (
            SELECT stay, minute, item, CASE WHEN fahrenheit THEN (number - 32) * 5 / 9 ELSE number END AS value
            FROM charted
            UNION ALL
            SELECT patientunitstayid, labresultoffset, CASE labname WHEN 'bedside glucose' THEN 'glucose'
                ELSE labname END, labresult
            FROM lab WHERE labname IN ('bedside glucose', 'glucose', 'pH', 'FiO2')
        ), times AS (
            SELECT stay, minute, {cells}
            FROM (SELECT stay, minute, item, CASE WHEN isfinite(value) THEN value END AS value FROM events)
            WHERE stay IN (SELECT stay FROM candidates) GROUP BY stay, minute
        ), shifted AS (
            SELECT * REPLACE (lead(c{glucose}) OVER (PARTITION BY stay ORDER BY minute) AS c{glucose}) FROM times
        )
        SELECT stay, trunc(minute / 60.0)::BIGINT AS hour, {filled}
        FROM shifted WHERE coalesce({", ".join(columns)}) IS NOT NULL
        WINDOW hour_rows AS (PARTITION BY stay, hour)
        QUALIFY row_number() OVER (PARTITION BY stay, hour ORDER BY minute DESC) = 1
    """)


def _keep_rows(tree: Tree, hours: float | None) -> list[AttritionRow]:
    """Create the table ``kept`` of the rows that are left, and say how many went."""
    left, records = tree.rows("SELECT count(*), count(DISTINCT stay) FROM hourly")[0]
    attrition = [AttritionRow("make hourly rows", left, records, 0, "rows: an hour each, of stays that have any")]
    tree.run("CREATE TEMP TABLE kept AS SELECT h.*, c.minutes FROM hourly h JOIN candidates c USING (stay)")
    number = f"stay IN (SELECT stay FROM kept GROUP BY stay HAVING count(*) BETWEEN {_FEWEST} AND {_MOST})"
    for step, condition, reason in (
        ("keep ordinary stays", number, f"rows: of stays with less than {_FEWEST} or more than {_MOST} rows"),
        ("keep the stay", "hour > 0 AND minutes / 1440 - hour / 24 > 0", "rows: before hour 1 or after discharge"),
        ("keep the window", "TRUE" if hours is None else f"hour < {hours!r}", f"rows: from hour {hours} on"),
    ):
        tree.run(f"DELETE FROM kept WHERE NOT ({condition})")
        before = left
        left, records = tree.rows("SELECT count(*), count(DISTINCT stay) FROM kept")[0]
        attrition.append(AttritionRow(step, left, records, before - left, reason))
        if not left:
            raise InputError(f"no row of {tree.folder.name} is left: the last {before} went at {step!r} ({reason})")
    tree.run("ALTER TABLE kept DROP COLUMN minutes")
    return attrition


def _floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    column = table[name].cast(pa.float64())
    values: NDArray[np.float64] = np.array(column.to_numpy(), np.float64)
    return values
