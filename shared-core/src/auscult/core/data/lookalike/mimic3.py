"""A folder like MIMIC-III 1.4."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

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

_ID: Mapping[str, Kind] = {"row_id": "int", "subject_id": "int"}
COLUMNS: Mapping[str, Mapping[str, Kind]] = {
    "patients": {
        **_ID, "gender": "text", "dob": "time", "dod": "time", "dod_hosp": "time", "dod_ssn": "time",
        "expire_flag": "int",
    },
    "admissions": {
        **_ID, "hadm_id": "int", "admittime": "time", "dischtime": "time", "deathtime": "time",
        "admission_type": "text", "admission_location": "text", "discharge_location": "text", "insurance": "text",
        "language": "text", "religion": "text", "marital_status": "text", "ethnicity": "text", "edregtime": "time",
        "edouttime": "time", "diagnosis": "text", "hospital_expire_flag": "int", "has_chartevents_data": "int",
    },
    "icustays": {
        **_ID, "hadm_id": "int", "icustay_id": "int", "dbsource": "text", "first_careunit": "text",
        "last_careunit": "text", "first_wardid": "int", "last_wardid": "int", "intime": "time", "outtime": "time",
        "los": "float",
    },
    "chartevents": {
        **_ID, "hadm_id": "int", "icustay_id": "int", "itemid": "int", "charttime": "time", "storetime": "time",
        "cgid": "int", "value": "text", "valuenum": "float", "valueuom": "text", "warning": "int", "error": "int",
        "resultstatus": "text", "stopped": "text",
    },
    "labevents": {
        **_ID, "hadm_id": "int", "itemid": "int", "charttime": "time", "value": "text", "valuenum": "float",
        "valueuom": "text", "flag": "text",
    },
    "outputevents": {
        **_ID, "hadm_id": "int", "icustay_id": "int", "charttime": "time", "itemid": "int", "value": "float",
        "valueuom": "text", "storetime": "time", "cgid": "int", "stopped": "text", "newbottle": "int",
        "iserror": "int",
    },
    "d_items": {
        "row_id": "int", "itemid": "int", "label": "text", "abbreviation": "text", "dbsource": "text",
        "linksto": "text", "category": "text", "unitname": "text", "param_type": "text", "conceptid": "int",
    },
    "d_labitems": {
        "row_id": "int", "itemid": "int", "label": "text", "fluid": "text", "category": "text", "loinc_code": "text",
    },
}  # fmt: skip


def write_mimic3(
    folder: str | Path, *, n_patients: int = 20, seed: int = 0, form: Form = "csv.gz", demo: bool = False
) -> Truth:
    """Write a folder like MIMIC-III 1.4: the patients whose stays hold its traps, and plain ones.

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
    demo
        Whether names and headers are in lower case and files not packed, as in the open demo.

    Returns
    -------
    Truth
        What the reader must make of it; also in ``truth.json``.

    Raises
    ------
    InputError
        Where the folder is not empty, ``n_patients`` is negative, or ``form`` is unknown.
    """
    ward = _Ward3()
    add_shared_cases(ward)
    for case in (_all_variables, _other_numbers, _other_fluids, _ages, _wards, _dictionaries):
        case(ward)
    add_plain_patients(ward, n_patients, seed)
    return ward.write(Path(folder), "csv" if demo and form == "csv.gz" else form, upper=not demo)


class _Ward3(Ward):
    """Rows of MIMIC-III."""

    def __init__(self) -> None:
        tables = {"charts": "chartevents", "labs": "labevents", "outputs": "outputevents"}
        super().__init__(COLUMNS, **tables, stay_column="icustay_id")

    def age(self, born: datetime, at: datetime) -> float:
        whole = at.year - born.year - (at < born.replace(year=at.year))
        birthday, following = born.replace(year=born.year + whole), born.replace(year=born.year + whole + 1)
        return 90 if whole > 150 else whole + (at - birthday) / (following - birthday)

    def seed_age(self, born: datetime, at: datetime) -> float:
        return (at - born) / timedelta(days=365)

    def patient(self, subject: int, born: datetime, sex: str = "F", dod: datetime | None = None) -> None:
        super().patient(subject, born, sex, dod)
        self.add(
            "patients", subject_id=subject, gender=sex, dob=born, dod=dod, dod_ssn=dod, expire_flag=int(dod is not None)
        )

    def admission(self, stay: Stay, *, before: float = 2, after: float = 24, **values: Any) -> None:
        usual = {
            "hospital_expire_flag": 0, "admission_type": "EMERGENCY", "insurance": "Medicare", "language": "ENGL",
            "marital_status": "MARRIED", "ethnicity": "WHITE", "diagnosis": 'SEPSIS, "R/O" MI',
            "admittime": stay.start - timedelta(hours=before), "dischtime": stay.end + timedelta(hours=after),
            "has_chartevents_data": 1,
        }  # fmt: skip
        self.add("admissions", **{"subject_id": stay.subject, "hadm_id": stay.hadm, **usual, **values})

    def stay(self, stay: Stay, **values: Any) -> None:
        usual = {
            "dbsource": "metavision", "first_careunit": "MICU", "last_careunit": "MICU", "first_wardid": 12,
            "last_wardid": 12, "intime": stay.start, "outtime": stay.end, "los": stay.hours / 24,
        }  # fmt: skip
        ids = {"subject_id": stay.subject, "hadm_id": stay.hadm, "icustay_id": stay.stay}
        self.add("icustays", **{**ids, **usual, **values})

    def unreadable(self, stay: Stay, minutes: float, item: int, number: float | None, text: str, **values: Any) -> None:
        """Add a charted row without a usable value."""
        self.chart(stay, minutes, item, number, text, **values)
        self.lose("read the values")


def _first(ward: _Ward3, number: int, **admission: Any) -> Stay:
    """Add a patient with one plain stay of the cohort."""
    stay = Stay(200100 + number, 100 + number, 100100 + number, datetime(2165, 3, 1, 10), 60)
    ward.patient(stay.subject, datetime(2101, 3, 1, 10))
    ward.admission(stay, **admission)
    ward.stay(stay, dbsource="both")
    ward.known(stay)
    return stay


def _all_variables(ward: _Ward3) -> None:
    """Write all variables in the words and units of both systems, a minute each."""
    stay = _first(ward, 1, ethnicity="BLACK/AFRICAN AMERICAN", insurance=None)
    rows: list[tuple[int, float | None, str | None, str, float]] = [
        (3348, None, "Normal <3 secs", REFILL, 0), (115, None, "Brisk", REFILL, 0),
        (8377, None, "Delayed", REFILL, 1), (3348, None, "Abnormal >3 secs", REFILL, 1),
        (184, 4, "4 Spontaneously", EYE, 4), (220739, 1, "None", EYE, 1), (220739, None, "to pain ", EYE, 2),
        (454, None, "2 Abnorm extensn", MOTOR, 2), (223901, 1, "No response", MOTOR, 1),
        (723, 1, "1.0 ET/Trach", VERBAL, 1), (223900, 1, "No Response-ETT", VERBAL, 1),
        (723, 3, "3 Inapprop words", VERBAL, 3), (198, 11, None, TOTAL, 11),
        (455, None, "120/80", SYSTOLIC, 120), (8441, 120, "120/80", DIASTOLIC, 80), (220050, 118, None, SYSTOLIC, 118),
        (220051, 62, None, DIASTOLIC, 62), (52, 75, None, MEAN, 75), (220052, 77, None, MEAN, 77),
        (646, 0.97, None, SATURATION, 97), (220277, 98, None, SATURATION, 98),
        (678, 98.6, None, "Temperature", 37), (676, 98.6, None, "Temperature", 37),
        (223762, 36.8, None, "Temperature", 36.8), (3581, 220, None, "Weight", 99.79024),
        (3582, 3520, None, "Weight", 99.79024), (763, 80, None, "Weight", 80), (1394, 70, None, "Height", 177.8),
        (226707, 70, None, "Height", 177.8), (226730, 175, None, "Height", 175), (811, None, "128", "Glucose", 128),
        (618, 18, None, "Respiratory rate", 18), (220210, 20, None, "Respiratory rate", 20),
        (211, 0, None, "Heart Rate", 0), (220045, 390, None, "Heart Rate", 390), (780, 7.4, None, "pH", 7.4),
    ]  # fmt: skip
    for minutes, (item, number, text, feature, value) in enumerate(rows):
        ward.chart(stay, minutes, item, number, text)
        ward.keep(stay.stay, minutes, feature, value)
        if feature in (EYE, MOTOR, VERBAL) and text != "to pain ":
            ward.by_seed(stay, minutes, feature, text)
    # A total is a sum where it was not charted; the seed makes none.
    for minutes, words, charted in ((100, ("3 To speech", "6 Obeys Commands", "5 Oriented"), 15),
                                    (110, ("1 No Response", "3 Abnorm flexion", "1.0 ET/Trach"), None)):  # fmt: skip
        levels = (3, 6, 5) if charted else (1, 3, 1)
        for item, word, level, feature in zip((184, 454, 723), words, levels, (EYE, MOTOR, VERBAL), strict=True):
            ward.chart(stay, minutes, item, level, word)
            ward.keep(stay.stay, minutes, feature, level)
        if charted:
            ward.chart(stay, minutes, 198, charted)
            ward.keep(stay.stay, minutes, TOTAL, charted)
        else:
            ward.settle(stay.stay, minutes, TOTAL, sum(levels), summed=True)
        ward.by_seed(stay, minutes, TOTAL, charted and str(charted))


def _other_numbers(ward: _Ward3) -> None:
    """Write values that are no measurement, hardly one, or one in another unit than it seems."""
    stay = _first(ward, 2, ethnicity="HISPANIC OR LATINO")
    ward.unreadable(stay, 10, 115, None, 'Other, "see note"\nnext line')
    ward.unreadable(stay, 11, 220739, 4, "4 Spontaneusly")
    ward.unreadable(stay, 12, 807, None, "ERROR")
    for minutes, number in ((20, 1e9), (21, -5), (22, 390.5)):
        ward.chart(stay, minutes, HEART_RATE, number)
        ward.lose("check the range")
        ward.by_seed(stay, minutes, "Heart Rate", number)
    for minutes, item, number, unit, fraction, by_seed in (
        (30, 3420, 40.0, None, 0.4, 0.4), (31, 3422, 0.5, None, 0.5, 0.005), (32, 223835, 55.0, "%", 0.55, 0.55),
        (33, 189, 15.0, "%", None, 0.15), (34, 223835, 50.0, "torr", None, 50.0),
    ):  # fmt: skip
        ward.chart(stay, minutes, item, number, valueuom=unit)
        ward.by_seed(stay, minutes, OXYGEN, by_seed)
        if fraction is None:
            ward.lose("read the values")
        else:
            ward.keep(stay.stay, minutes, OXYGEN, fraction)
    ward.seen(stay, 40, 223762, 36.5, "Temperature")
    ward.chart(stay, 41, 223761, 70)
    ward.keep(stay.stay, 41, "Temperature", (70 - 32) / 1.8)
    ward.by_seed(stay, 41, "Temperature", 70)
    ward.chart(stay, 50, HEART_RATE, 55, error=1)
    ward.lose("drop rows marked as errors")
    ward.by_seed(stay, 50, "Heart Rate", 55)
    ward.chart(stay, 60, 999999, 1)
    ward.lose("keep the panel's codes")


def _other_fluids(ward: _Ward3) -> None:
    """Write the laboratory: with and without an admission, before the stay, of urine and other fluids."""
    stay = _first(ward, 3)
    for minutes, item, number, text in (
        (10, 50931, None, ">1000"), (11, 50931, 1000, ">1000"), (12, 50820, None, "NOTDONE"),
    ):  # fmt: skip
        ward.lab(stay, minutes, item, number, text)
        ward.lose("read the values")
    for minutes, item, level, feature in (
        (20, 50931, 140, "Glucose"), (21, 50820, 7.35, "pH"), (22, 50817, 96, SATURATION),
    ):  # fmt: skip
        ward.lab(stay, minutes, item, level)
        ward.keep(stay.stay, minutes, feature, level)
    for minutes, item, level, feature in (
        (30, 51478, 250, "Glucose"), (31, 51491, 5.5, "pH"), (32, 51094, 6, "pH"), (33, 50831, 7.1, "pH"),
    ):  # fmt: skip
        ward.lab(stay, minutes, item, level)
        ward.lose("keep the panel's codes")
        ward.by_seed(stay, minutes, feature, level)
    ward.lab(stay, 40, 50931, 104, hadm_id=None)
    ward.keep(stay.stay, 40, "Glucose", 104)
    ward.by_seed(stay, 40, "Glucose", None)
    ward.lab(stay, -240, 50931, 105, hadm_id=None)
    ward.lose("find the stay")
    ward.output(stay, 140, 40055, 100)
    ward.output(stay, 140, 226559, 50)
    ward.output(stay, 150, 40055, 70, iserror=1)


def _ages(ward: _Ward3) -> None:
    """Write a patient over 89, whom the source makes 300, and one on the day before and on the 18th birthday."""
    old = Stay(200301, 31, 100301, datetime(2180, 8, 1), 60)
    ward.patient(31, datetime(1880, 5, 1), sex="M")
    ward.admission(old)
    ward.stay(old)
    ward.known(old)
    young, grown = (
        Stay(200302, 32, 100302, datetime(2150, 6, 9, 23), 50),
        Stay(200303, 32, 100303, datetime(2150, 8, 1), 50),
    )
    ward.patient(32, datetime(2132, 6, 10))
    for stay in (young, grown):
        ward.admission(stay)
        ward.stay(stay)
    ward.lose("adults")
    ward.known(grown)
    birthday = Stay(200304, 33, 100304, datetime(2150, 6, 10), 50)
    ward.patient(33, datetime(2132, 6, 10))
    ward.admission(birthday)
    ward.stay(birthday)
    ward.known(birthday)


def _wards(ward: _Ward3) -> None:
    """Write a stay that changed the ward, not the unit."""
    stay = Stay(200403, 41, 100403, datetime(2140, 1, 1), 60)
    ward.patient(41, datetime(2090, 1, 1))
    ward.admission(stay)
    ward.stay(stay, last_wardid=33)
    ward.lose("drop transfers")


def _dictionaries(ward: _Ward3) -> None:
    """Write what the tables of items say of the ids above."""
    labels = {211: "Heart Rate", 220045: "Heart Rate", 223761: "Temperature Fahrenheit", 226707: "Height"}
    for item, label in labels.items():
        system = "carevue" if item < 220000 else "metavision"
        ward.add("d_items", itemid=item, label=label, dbsource=system, linksto="chartevents")
    fluids = {50931: "Blood", 51478: "Urine", 50820: "Blood", 51491: "Urine", 51094: "Urine", 50831: "Other Body Fluid"}
    for item, fluid in fluids.items():
        ward.add("d_labitems", itemid=item, label="Glucose" if item in (50931, 51478) else "pH", fluid=fluid)
