"""The tables of events of eICU, as rows that the engine of :mod:`auscult.core.data.events` reads.

All times are minutes from the admission to the unit.
"""

from collections.abc import Sequence
from typing import Any

from auscult.core.data.conversions import literal
from auscult.core.data.eicu_panels import APERIODIC, INTAKE, LAB, NURSE, NURSE_CATEGORIES, PERIODIC, RESPIRATORY
from auscult.core.data.events import EventTable
from auscult.core.data.panel import Panel
from auscult.core.data.tree import Table, Tree
from auscult.core.errors import InputError

_STAY = {"patientunitstayid": "BIGINT"}
NURSE_TABLE = Table(
    NURSE,
    {
        **_STAY, "nursingchartoffset": "BIGINT", "nursingchartentryoffset": "BIGINT",
        "nursingchartcelltypecat": "VARCHAR", "nursingchartcelltypevallabel": "VARCHAR",
        "nursingchartcelltypevalname": "VARCHAR", "nursingchartvalue": "VARCHAR",
    },
)  # fmt: skip
LAB_TABLE = Table(
    LAB,
    {
        **_STAY, "labresultoffset": "BIGINT", "labname": "VARCHAR", "labresult": "DOUBLE", "labresulttext": "VARCHAR",
        "labmeasurenamesystem": "VARCHAR", "labmeasurenameinterface": "VARCHAR", "labresultrevisedoffset": "BIGINT",
    },
)  # fmt: skip
RESPIRATORY_TABLE = Table(
    RESPIRATORY,
    {
        **_STAY, "respchartoffset": "BIGINT", "respchartentryoffset": "BIGINT", "respchartvaluelabel": "VARCHAR",
        "respchartvalue": "VARCHAR",
    },
)  # fmt: skip
INTAKE_TABLE = Table(
    INTAKE,
    {
        **_STAY, "intakeoutputoffset": "BIGINT", "intakeoutputentryoffset": "BIGINT", "celllabel": "VARCHAR",
        "cellvaluenumeric": "DOUBLE",
    },
)  # fmt: skip
MINUTE = 60_000_000  # microseconds


def open_events(tree: Tree, panel: Panel, *, bounds: bool) -> list[EventTable]:
    """Open the tables that a panel reads.

    Parameters
    ----------
    tree
        The folder.
    panel
        What to read.
    bounds
        Whether a result such as ``<0.02`` counts as its bound.

    Returns
    -------
    list of EventTable
        The laboratory's is the temporary table ``lab_results``.
    """
    number = r"'-?[0-9]+(\.[0-9]*)?'"
    selects = {
        NURSE: (
            NURSE_TABLE,
            "nursingchartcelltypevallabel || '|' || nursingchartcelltypevalname AS code, "
            f"nursingchartoffset * {MINUTE} AS taken, nursingchartentryoffset * {MINUTE} AS stored, "
            f"CASE WHEN regexp_full_match(trim(nursingchartvalue), {number}) "
            "THEN TRY_CAST(trim(nursingchartvalue) AS DOUBLE) END AS number, nursingchartvalue AS text, "
            "NULL::VARCHAR AS unit, FALSE AS wrong FROM nursecharting "
            f"WHERE nursingchartcelltypecat IN {NURSE_CATEGORIES}",
        ),
        RESPIRATORY: (
            RESPIRATORY_TABLE,
            f"respchartvaluelabel AS code, respchartoffset * {MINUTE} AS taken, "
            f"respchartentryoffset * {MINUTE} AS stored, "
            f"CASE WHEN regexp_full_match(trim(respchartvalue, ' %'), {number}) "
            "THEN TRY_CAST(trim(respchartvalue, ' %') AS DOUBLE) END AS number, respchartvalue AS text, "
            "NULL::VARCHAR AS unit, FALSE AS wrong FROM respiratorycharting",
        ),
        INTAKE: (
            INTAKE_TABLE,
            "CASE WHEN regexp_matches(celllabel, 'catheter.+output|output.+catheter') THEN 'URINE CATHETER' "
            f"ELSE celllabel END AS code, intakeoutputoffset * {MINUTE} AS taken, "
            f"intakeoutputentryoffset * {MINUTE} AS stored, cellvaluenumeric AS number, NULL::VARCHAR AS text, "
            "NULL::VARCHAR AS unit, FALSE AS wrong FROM intakeoutput",
        ),
    }
    labels = [str(code).partition("|")[0] for code in panel.codes(NURSE)]
    only: dict[str, tuple[str, Sequence[Any]]] = {
        NURSE: ("nursingchartcelltypevallabel", labels),
        RESPIRATORY: ("respchartvaluelabel", panel.codes(RESPIRATORY)),
    }
    shared = "SELECT patientunitstayid AS person, patientunitstayid AS stay, "
    events = []
    for name in panel.tables:
        if name in (PERIODIC, APERIODIC):
            events.append(_long(tree, name, [str(code) for code in panel.codes(name)], shared))
        elif name == LAB:
            events.append(_lab(tree, panel, bounds=bounds))
        elif name in selects:
            table, rest = selects[name]
            events.append(EventTable(name, tree.open(table), shared + rest, only.get(name)))
        else:
            raise InputError(
                f"the panel {panel.name!r} reads the table {name!r}, which this reader does not know: "
                f"use {', '.join([LAB, PERIODIC, APERIODIC, *selects])}"
            )
    return events


def _long(tree: Tree, name: str, columns: list[str], shared: str) -> EventTable:
    """Return a table with a column a variable as one with a row a value."""
    table = Table(name, {**_STAY, "observationoffset": "BIGINT", **dict.fromkeys(columns, "DOUBLE")})
    view = tree.open(table)
    return EventTable(
        name,
        view,
        f"{shared} code, observationoffset * {MINUTE} AS taken, NULL::BIGINT AS stored, number, "
        "NULL::VARCHAR AS text, NULL::VARCHAR AS unit, FALSE AS wrong "
        f"FROM {view} UNPIVOT (number FOR code IN ({', '.join(columns)}))",
        whole=True,
    )


def _lab(tree: Tree, panel: Panel, *, bounds: bool) -> EventTable:
    """Return the laboratory's rows; the last revision of a result counts, and none that contradicts itself."""
    view = tree.open(LAB_TABLE)
    names = ", ".join(literal(name) for name in panel.codes(LAB))
    bound = r"TRY_CAST(nullif(regexp_extract(trim(labresulttext), '^[<>]=? *([0-9]*\.?[0-9]+)$', 1), '') AS DOUBLE)"
    copy = f"""
        CREATE TEMP TABLE lab_results AS
        WITH plain AS (
            SELECT patientunitstayid AS stay, labname AS code, labresultoffset AS taken,
                coalesce(labresultrevisedoffset, labresultoffset) AS stored, labresult AS number,
                {bound if bounds else "NULL::DOUBLE"} AS bound, labresulttext AS text,
                coalesce(nullif(trim(labmeasurenamesystem), ''), labmeasurenameinterface) AS unit
            FROM {view} WHERE labname IN ({names})
        )
        SELECT *, stored < max(stored) OVER result OR coalesce(min(number) OVER revision < max(number) OVER revision,
            FALSE) AS wrong
        FROM plain WINDOW result AS (PARTITION BY stay, code, taken),
            revision AS (PARTITION BY stay, code, taken, stored)
    """
    rows = tree.consume(copy, view, ("labname", panel.codes(LAB)))
    return EventTable(
        LAB,
        view,
        f"SELECT stay AS person, stay, code, taken * {MINUTE} AS taken, stored * {MINUTE} AS stored, "
        "coalesce(number, bound) AS number, text, unit, wrong FROM lab_results",
        rows=rows,
    )
