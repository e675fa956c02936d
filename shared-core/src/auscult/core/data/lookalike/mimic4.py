"""A folder like MIMIC-IV 2.2 or 3.1."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from auscult.core.data.lookalike.mimic import HEART_RATE, Ward, add_plain_patients, add_shared_cases
from auscult.core.data.lookalike.scenario import Form, Kind, Stay, Truth
from auscult.core.data.mimic_vitals import (
    DIASTOLIC,
    EYE,
    MEAN,
    MOTOR,
    OXYGEN,
    REFILL,
    SATURATION,
    SYSTOLIC,
    TOTAL,
    VERBAL,
)
from auscult.core.errors import InputError

_IDS: Mapping[str, Kind] = {"subject_id": "int", "hadm_id": "int"}
COLUMNS: Mapping[str, Mapping[str, Kind]] = {
    "hosp/patients": {
        "subject_id": "int", "gender": "text", "anchor_age": "int", "anchor_year": "int", "anchor_year_group": "text",
        "dod": "time",
    },
    "hosp/admissions": {
        **_IDS, "admittime": "time", "dischtime": "time", "deathtime": "time", "admission_type": "text",
        "admit_provider_id": "text", "admission_location": "text", "discharge_location": "text", "insurance": "text",
        "language": "text", "marital_status": "text", "race": "text", "edregtime": "time", "edouttime": "time",
        "hospital_expire_flag": "int",
    },
    "hosp/labevents": {
        "labevent_id": "int", **_IDS, "specimen_id": "int", "itemid": "int", "order_provider_id": "text",
        "charttime": "time", "storetime": "time", "value": "text", "valuenum": "float", "valueuom": "text",
        "ref_range_lower": "float", "ref_range_upper": "float", "flag": "text", "priority": "text",
        "comments": "text",
    },
    "hosp/d_labitems": {"itemid": "int", "label": "text", "fluid": "text", "category": "text"},
    "hosp/diagnoses_icd": {**_IDS, "seq_num": "int", "icd_code": "text", "icd_version": "int"},
    "icu/icustays": {
        **_IDS, "stay_id": "int", "first_careunit": "text", "last_careunit": "text", "intime": "time",
        "outtime": "time", "los": "float",
    },
    "icu/chartevents": {
        **_IDS, "stay_id": "int", "caregiver_id": "int", "charttime": "time", "storetime": "time", "itemid": "int",
        "value": "text", "valuenum": "float", "valueuom": "text", "warning": "int",
    },
    "icu/outputevents": {
        **_IDS, "stay_id": "int", "caregiver_id": "int", "charttime": "time", "storetime": "time", "itemid": "int",
        "value": "float", "valueuom": "text",
    },
    "icu/d_items": {
        "itemid": "int", "label": "text", "abbreviation": "text", "linksto": "text", "category": "text",
        "unitname": "text", "param_type": "text", "lownormalvalue": "float", "highnormalvalue": "float",
    },
}  # fmt: skip
# Years between the birth and the anchor year.
ANCHOR_AGE = 40


def write_mimic4(
    folder: str | Path,
    *,
    n_patients: int = 20,
    seed: int = 0,
    form: Form = "csv.gz",
    version: Literal["2.0", "2.2", "3.1"] = "2.2",
    demo: bool = False,
    old_core: bool = False,
) -> Truth:
    """Write a folder like MIMIC-IV: the patients whose stays hold its traps, and plain ones.

    Parameters
    ----------
    folder
        A new or empty one.
    n_patients
        How many plain patients there are beside the others: adults with one to three stays, 39 events each, whose
        values go with their outcome.
    seed
        Of the plain patients.
    form
        Of the tables: ``csv.gz``, ``csv`` or ``parquet``.
    version
        ``3.1`` has patients of later years, ``2.0`` lacks the columns of caregivers and providers.
    demo
        Whether ``demo_subject_id.csv`` lies beside the folders, as in the open demo.
    old_core
        Whether patients and admissions lie in ``core``, as before 2.0; no reader takes that.

    Returns
    -------
    Truth
        What the reader must make of it; also in ``truth.json``.

    Raises
    ------
    InputError
        Where the folder is not empty, ``n_patients`` is negative, or ``form`` or ``version`` is unknown.
    """
    if version not in ("2.0", "2.2", "3.1"):
        raise InputError(f"version is {version!r}: use '2.0', '2.2' or '3.1'")
    ward = _Ward4(version)
    add_shared_cases(ward)
    for case in (_all_variables, _other_numbers, _masked, _overlap, _laboratory, _dictionaries):
        case(ward)
    add_plain_patients(ward, n_patients, seed)
    if demo:
        ward.columns = {**ward.columns, "demo_subject_id": {"subject_id": "int"}}
        for subject in ward.people:
            ward.add("demo_subject_id", subject_id=subject)
    if old_core:
        for table in ("patients", "admissions"):
            ward.columns = {
                name.replace(f"hosp/{table}", f"core/{table}"): columns for name, columns in ward.columns.items()
            }
            ward.rows[f"core/{table}"] = ward.rows.pop(f"hosp/{table}")
    return ward.write(Path(folder), form)


class _Ward4(Ward):
    """Rows of MIMIC-IV."""

    def __init__(self, version: str) -> None:
        late = ("caregiver_id", "order_provider_id", "admit_provider_id") if version == "2.0" else ()
        columns = {
            table: {column: kind for column, kind in known.items() if column not in late}
            for table, known in COLUMNS.items()
        }
        tables = {"charts": "icu/chartevents", "labs": "hosp/labevents", "outputs": "icu/outputevents"}
        super().__init__(columns, **tables, stay_column="stay_id")
        self.group = "2020 - 2022" if version == "3.1" else "2017 - 2019"

    def age(self, born: datetime, at: datetime) -> float:
        return at.year - born.year

    def seed_age(self, born: datetime, at: datetime) -> float:
        return ANCHOR_AGE

    def patient(self, subject: int, born: datetime, sex: str = "F", dod: datetime | None = None) -> None:
        super().patient(subject, born, sex, dod)
        self.add(
            "hosp/patients", subject_id=subject, gender=sex, anchor_age=ANCHOR_AGE, anchor_year=born.year + ANCHOR_AGE,
            anchor_year_group=self.group if subject % 2 else "2008 - 2010", dod=dod,
        )  # fmt: skip

    def admission(self, stay: Stay, *, before: float = 2, after: float = 24, **values: Any) -> None:
        usual = {
            "hospital_expire_flag": 0, "admission_type": "EW EMER.", "insurance": "Medicare", "language": "English",
            "marital_status": "MARRIED", "race": values.pop("ethnicity", "WHITE"),
            "admittime": stay.start - timedelta(hours=before), "dischtime": stay.end + timedelta(hours=after),
        }  # fmt: skip
        self.add("hosp/admissions", **{"subject_id": stay.subject, "hadm_id": stay.hadm, **usual, **values})

    def stay(self, stay: Stay, **values: Any) -> None:
        unit = "Neuro Stepdown" if stay.stay % 2 else "Medical Intensive Care Unit (MICU)"
        usual = {
            "first_careunit": unit, "last_careunit": unit, "intime": stay.start, "outtime": stay.end,
            "los": stay.hours / 24,
        }  # fmt: skip
        ids = {"subject_id": stay.subject, "hadm_id": stay.hadm, "stay_id": stay.stay}
        self.add("icu/icustays", **{**ids, **usual, **values})


def _first(ward: _Ward4, number: int, **admission: Any) -> Stay:
    """Add a patient with one plain stay of the cohort, three years after the anchor."""
    stay = Stay(200100 + number, 100 + number, 100100 + number, datetime(2153, 3, 1, 10), 60)
    ward.patient(stay.subject, datetime(2110, 9, 1))
    ward.admission(stay, **admission)
    ward.stay(stay)
    ward.known(stay)
    return stay


def _all_variables(ward: _Ward4) -> None:
    """Write all variables, a minute each, and scores complete and not."""
    stay = _first(ward, 1, ethnicity="HISPANIC/LATINO - PUERTO RICAN", insurance=None)
    rows: list[tuple[int, float | None, str | None, str, float]] = [
        (223951, None, "Normal <3 Seconds", REFILL, 0), (224308, None, "Abnormal >3 Seconds", REFILL, 1),
        (220739, 1, "None", EYE, 1), (223901, 1, "No response", MOTOR, 1),
        (223900, 1, "No Response-ETT", VERBAL, 1), (223900, 1, "No Response", VERBAL, 1),
        (220050, 118, None, SYSTOLIC, 118), (220051, 62, None, DIASTOLIC, 62), (227243, 121, None, SYSTOLIC, 121),
        (224643, 70, None, DIASTOLIC, 70), (220052, 77, None, MEAN, 77), (220277, 98, None, SATURATION, 98),
        (220227, 0.97, None, SATURATION, 97), (223761, 98.6, None, "Temperature", 37),
        (223762, 36.8, None, "Temperature", 36.8), (223762, 98.6, None, "Temperature", 37),
        (226531, 220, None, "Weight", 99.79024), (226512, 80, None, "Weight", 80), (224639, 81, None, "Weight", 81),
        (226730, 175, None, "Height", 175), (225664, 128, None, "Glucose", 128), (220621, 129, None, "Glucose", 129),
        (220210, 18, None, "Respiratory rate", 18), (224690, 20, None, "Respiratory rate", 20),
        (220045, 0, None, "Heart Rate", 0), (220274, 7.4, None, "pH", 7.4), (223830, 7.3, None, "pH", 7.3),
        (223835, 40, None, OXYGEN, 0.4), (223835, 0.5, None, OXYGEN, 0.5), (223835, 100, None, OXYGEN, 1),
    ]  # fmt: skip
    for minutes, (item, number, text, feature, value) in enumerate(rows):
        ward.chart(stay, minutes, item, number, text)
        ward.keep(stay.stay, minutes, feature, value)
    # Refill has no id that the seed knows; half is read as half a per cent.
    for minutes, feature, by_seed in (
        (0, REFILL, None), (1, REFILL, None), (2, EYE, "None"), (4, VERBAL, "No Response-ETT"), (28, OXYGEN, 0.005),
    ):  # fmt: skip
        ward.by_seed(stay, minutes, feature, by_seed)
    ward.chart(stay, 50, 226707, 70)
    ward.chart(stay, 50, 226730, 175)
    for height in (177.8, 175):
        ward.keep(stay.stay, 50, "Height", height)
    ward.chart(stay, 51, 226707, 70)
    ward.keep(stay.stay, 51, "Height", 177.8)
    ward.by_seed(stay, 51, "Height", 70)
    complete = ((220739, "To Speech", 3, EYE), (223901, "Obeys Commands", 6, MOTOR), (223900, "Confused", 4, VERBAL))
    for minutes, parts in ((60, complete), (61, complete[:2])):
        for item, word, level, feature in parts:
            ward.chart(stay, minutes, item, level, word)
            ward.keep(stay.stay, minutes, feature, level)
        ward.by_seed(stay, minutes, TOTAL, None)
    ward.settle(stay.stay, 60, TOTAL, 13, summed=True)


def _other_numbers(ward: _Ward4) -> None:
    """Write values that are no measurement, or hardly one."""
    stay = _first(ward, 2, ethnicity="UNABLE TO OBTAIN")
    for minutes, item, number, text, unit in (
        (10, 224308, None, 'Other, "see note"\nnext line', None), (11, 220739, 4, "Spontaneusly", None),
        (12, 223835, 15, None, "%"), (13, 223835, 50, None, "torr"),
    ):  # fmt: skip
        ward.chart(stay, minutes, item, number, text, valueuom=unit)
        ward.lose("read the values")
    ward.by_seed(stay, 12, OXYGEN, 0.15)
    ward.by_seed(stay, 13, OXYGEN, 0.5)
    for minutes, rate in ((20, 1e9), (21, -5), (22, 390.5)):
        ward.chart(stay, minutes, HEART_RATE, rate)
        ward.lose("check the range")
        ward.by_seed(stay, minutes, "Heart Rate", rate)
    ward.chart(stay, 30, 999999, 1)
    ward.lose("keep the panel's codes")


def _masked(ward: _Ward4) -> None:
    """Write a masked text beside a number, a text without one, and a row that was stored before it was taken."""
    stay = _first(ward, 3)
    ward.chart(stay, 10, 225664, 131, "___")
    ward.keep(stay.stay, 10, "Glucose", 131)
    ward.chart(stay, 11, 225664, None, "132")
    ward.chart(stay, 12, 225664, None, "___")
    ward.lose("read the values", 2)
    ward.chart(stay, 13, HEART_RATE, 88, storetime=stay.start - timedelta(hours=1))
    ward.keep(stay.stay, 13, "Heart Rate", 88)


def _overlap(ward: _Ward4) -> None:
    """Write two stays of one patient at the same time, in two admissions: none is a return."""
    first, second = (Stay(201001 + i, 10, 101001 + i, datetime(2150, 1, 1 + 2 * i), 72) for i in range(2))
    ward.patient(10, datetime(2100, 1, 1))
    for stay in (first, second):
        ward.admission(stay)
        ward.stay(stay)
    ward.seen(first, 30, HEART_RATE, 91)
    ward.seen(second, 30, HEART_RATE, 92)
    # Without its stay, a row belongs to every stay that it lies in: to the second and, too late, the first.
    ward.chart(second, 60, HEART_RATE, 93, stay_id=None)
    ward.lose("count shared rows for each")
    ward.keep(second.stay, 60, "Heart Rate", 93)
    ward.lose("drop what follows the window")
    ward.known(first, seed={"readmission": 1})
    ward.known(second)


def _laboratory(ward: _Ward4) -> None:
    """Write laboratory values with and without an admission, before the stay and within, and of urine."""
    stay = _first(ward, 4)
    ward.lab(stay, 10, 50912, 1.2, "___", valueuom="mg/dL")
    ward.lab(stay, 20, 50912, 1.4, hadm_id=None, valueuom="mg/dL")
    ward.lab(stay, -300, 50912, 1.3, hadm_id=None, valueuom="mg/dL")
    ward.lab(stay, 30, 50889, 2, valueuom="mg/dL")
    ward.lab(stay, 31, 50889, 20, valueuom="mg/L")
    ward.lab(stay, 40, 50931, 141, valueuom="mg/dL")
    ward.by_seed(stay, 40, "Glucose", 141)
    ward.lab(stay, 41, 51478, 250, valueuom="mg/dL")
    ward.by_seed(stay, 41, "Glucose", 250)
    ward.output(stay, 140, 226559, 100)
    ward.output(stay, 140, 226560, 50)


def _dictionaries(ward: _Ward4) -> None:
    """Write what the tables of items say, and a padded diagnosis."""
    labels = {220045: "Heart Rate", 223761: "Temperature Fahrenheit", 226707: "Height", 226730: "Height (cm)"}
    for item, label in labels.items():
        ward.add("icu/d_items", itemid=item, label=label, linksto="chartevents")
    for item, (label, fluid) in {50931: ("Glucose", "Blood"), 51478: ("Glucose", "Urine")}.items():
        ward.add("hosp/d_labitems", itemid=item, label=label, fluid=fluid, category="Chemistry")
    ward.add("hosp/diagnoses_icd", subject_id=101, hadm_id=100101, seq_num=1, icd_code="4019   ", icd_version=9)
    ward.add("hosp/diagnoses_icd", subject_id=101, hadm_id=100101, seq_num=2, icd_code="I10    ", icd_version=10)
