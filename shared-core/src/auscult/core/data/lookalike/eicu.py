"""A folder like eICU 2.0, or like its open demo."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auscult.core.data.lookalike.scenario import Form, Kind, Scenario, Truth
from auscult.core.data.mimic_vitals import DIASTOLIC, EYE, MEAN, MOTOR, OXYGEN, SATURATION, SYSTOLIC, TOTAL, VERBAL
from auscult.core.errors import InputError

COLUMNS: Mapping[str, Mapping[str, Kind]] = {
    "patient": {
        "patientunitstayid": "int", "patienthealthsystemstayid": "int", "gender": "text", "age": "text",
        "ethnicity": "text", "hospitalid": "int", "wardid": "int", "apacheadmissiondx": "text",
        "admissionheight": "float", "hospitaladmittime24": "text", "hospitaladmitoffset": "int",
        "hospitaladmitsource": "text", "hospitaldischargeyear": "int", "hospitaldischargetime24": "text",
        "hospitaldischargeoffset": "int", "hospitaldischargelocation": "text", "hospitaldischargestatus": "text",
        "unittype": "text", "unitadmittime24": "text", "unitadmitsource": "text", "unitvisitnumber": "int",
        "unitstaytype": "text", "admissionweight": "float", "dischargeweight": "float", "unitdischargetime24": "text",
        "unitdischargeoffset": "int", "unitdischargelocation": "text", "unitdischargestatus": "text",
        "uniquepid": "text",
    },
    "hospital": {"hospitalid": "int", "numbedscategory": "text", "teachingstatus": "text", "region": "text"},
    "lab": {
        "labid": "int", "patientunitstayid": "int", "labresultoffset": "int", "labtypeid": "int", "labname": "text",
        "labresult": "float", "labresulttext": "text", "labmeasurenamesystem": "text",
        "labmeasurenameinterface": "text", "labresultrevisedoffset": "int",
    },
    "nurseCharting": {
        "nursingchartid": "int", "patientunitstayid": "int", "nursingchartoffset": "int",
        "nursingchartentryoffset": "int", "nursingchartcelltypecat": "text", "nursingchartcelltypevallabel": "text",
        "nursingchartcelltypevalname": "text", "nursingchartvalue": "text",
    },
    "vitalPeriodic": {
        "vitalperiodicid": "int", "patientunitstayid": "int", "observationoffset": "int", "temperature": "float",
        "sao2": "int", "heartrate": "int", "respiration": "int", "cvp": "int", "etco2": "int",
        "systemicsystolic": "int", "systemicdiastolic": "int", "systemicmean": "int", "pasystolic": "int",
        "padiastolic": "int", "pamean": "int",
        "st1": "float", "st2": "float", "st3": "float", "icp": "int",
    },
    "vitalAperiodic": {
        "vitalaperiodicid": "int", "patientunitstayid": "int", "observationoffset": "int",
        "noninvasivesystolic": "float", "noninvasivediastolic": "float", "noninvasivemean": "float", "paop": "float",
        "cardiacoutput": "float", "cardiacinput": "float", "svr": "float", "svri": "float", "pvr": "float",
        "pvri": "float",
    },
    "respiratoryCharting": {
        "respchartid": "int", "patientunitstayid": "int", "respchartoffset": "int", "respchartentryoffset": "int",
        "respcharttypecat": "text", "respchartvaluelabel": "text", "respchartvalue": "text",
    },
    "intakeOutput": {
        "intakeoutputid": "int", "patientunitstayid": "int", "intakeoutputoffset": "int", "intaketotal": "float",
        "outputtotal": "float", "dialysistotal": "float", "nettotal": "float", "intakeoutputentryoffset": "int",
        "cellpath": "text", "celllabel": "text", "cellvaluenumeric": "float", "cellvaluetext": "text",
    },
    "infusionDrug": {
        "infusiondrugid": "int", "patientunitstayid": "int", "infusionoffset": "int", "drugname": "text",
        "drugrate": "text", "infusionrate": "text", "drugamount": "text", "volumeoffluid": "text",
        "patientweight": "text",
    },
}  # fmt: skip
HEART, BREATH, SATURATED = "Heart Rate", "Respiratory Rate", "O2 Saturation"
# Label and name of what the nurses chart, and the feature it is.
_CHARTED: Mapping[str, tuple[str, str]] = {
    HEART: (HEART, "Heart Rate"),
    BREATH: (BREATH, "Respiratory rate"),
    SATURATED: (SATURATED, SATURATION),
    "Temperature (C)": ("Temperature", "Temperature"),
    "Temperature (F)": ("Temperature", "Temperature"),
    "Invasive BP Systolic": ("Invasive BP", SYSTOLIC),
    "Invasive BP Diastolic": ("Invasive BP", DIASTOLIC),
    "Invasive BP Mean": ("Invasive BP", MEAN),
    "Non-Invasive BP Systolic": ("Non-Invasive BP", SYSTOLIC),
    "Non-Invasive BP Diastolic": ("Non-Invasive BP", DIASTOLIC),
    "Non-Invasive BP Mean": ("Non-Invasive BP", MEAN),
    "GCS Total": ("Glasgow coma score", TOTAL),
    "Eyes": ("Glasgow coma score", EYE),
    "Motor": ("Glasgow coma score", MOTOR),
    "Verbal": ("Glasgow coma score", VERBAL),
}
_PLAIN = {HEART: (85.0, 12.0, 15.0), BREATH: (18.0, 4.0, 5.0), SATURATED: (96.0, 2.0, -4.0)}


def write_eicu(
    folder: str | Path, *, n_patients: int = 20, seed: int = 0, form: Form = "csv.gz", demo: bool = False
) -> Truth:
    """Write a folder like eICU: the patients whose stays hold its traps, and plain ones.

    Parameters
    ----------
    folder
        A new or empty one.
    n_patients
        How many plain patients there are beside the others: adults with one stay and an event every hour or two,
        whose values go with their outcome.
    seed
        Of the plain patients.
    form
        Of the tables: ``csv.gz``, ``csv`` or ``parquet``.
    demo
        Whether a table has its name in small letters, as in the open demo.

    Returns
    -------
    Truth
        What the reader must make of it; also in ``truth.json``. ``seed`` holds the stays that the preset ``seed``
        keeps.

    Raises
    ------
    InputError
        Where the folder is not empty, or ``form`` is unknown.
    """
    if n_patients < 0:
        raise InputError(f"n_patients is {n_patients}: give 0 or more")
    unit = _Unit({name.lower() if demo and name == "infusionDrug" else name: kinds for name, kinds in COLUMNS.items()})
    for case in (
        _ages, _unknowns, _several_stays, _lengths, _deaths, _sizes, _laboratory, _charts, _other_tables, _hours,
    ):  # fmt: skip
        case(unit)
    _add_plain(unit, n_patients, seed)
    return unit.write(Path(folder), form)


class _Unit(Scenario):
    """Rows of eICU."""

    def stay(self, stay: int, *, kept: bool = True, hours: float = 60, **values: Any) -> int:
        """Add the row of a unit stay, and say whether the cohort keeps it."""
        usual = {
            "patientunitstayid": stay, "patienthealthsystemstayid": 100_000 + stay, "gender": "Female", "age": "60",
            "ethnicity": "Caucasian", "hospitalid": 73 + stay % 2, "wardid": 90, "apacheadmissiondx": 'Sepsis, "other"',
            "admissionheight": 165.0, "admissionweight": 70.0, "hospitaladmitoffset": -120,
            "hospitaldischargeyear": 2014, "hospitaldischargestatus": "Alive", "unittype": "MICU",
            "unitvisitnumber": 1, "unitstaytype": "admit", "unitdischargeoffset": round(hours * 60),
            "unitdischargestatus": "Alive", "uniquepid": f"002-{stay}",
        }  # fmt: skip
        row = {**usual, **values}
        self.add("patient", **row)
        if kept:
            self.stays[stay] = {
                "subject": row["uniquepid"],
                "sex": {"Female": 0, "Male": 1}.get(row["gender"]),
                "age": 90 if row["age"] == "> 89" else int(row["age"]),
                "height": row["admissionheight"],
                "weight": row["admissionweight"],
                "mortality": int(row["hospitaldischargestatus"] == "Expired"),
                "mortality_unit": int(row["unitdischargestatus"] == "Expired"),
                "readmission": None if row["hospitaldischargestatus"] == "Expired" else 0,
                "los_days": row["unitdischargeoffset"] / 1440,
            }
        return stay

    def chart(self, stay: int, minute: int, name: str, value: str | None, label: str = "", **values: Any) -> None:
        """Add a row of the nurses' charts."""
        category = "Scores" if label.startswith("Glasgow") else "Vital Signs"
        usual = {
            "patientunitstayid": stay, "nursingchartoffset": minute, "nursingchartentryoffset": minute + 3,
            "nursingchartcelltypecat": category, "nursingchartcelltypevallabel": label,
            "nursingchartcelltypevalname": name, "nursingchartvalue": value,
        }  # fmt: skip
        self.add("nurseCharting", **{**usual, **values})

    def seen(self, stay: int, minute: int, name: str, value: float, meant: float | None = None) -> None:
        """Add a charted value that reaches the cohort."""
        label, feature = _CHARTED[name]
        self.chart(stay, minute, name, f"{value:g}", label)
        self.keep(stay, minute, feature, value if meant is None else meant)

    def lab(self, stay: int, minute: int, name: str, result: float | None, unit: str = "mg/dL", **values: Any) -> None:
        """Add a row of the laboratory."""
        usual = {
            "patientunitstayid": stay, "labresultoffset": minute, "labtypeid": 1, "labname": name, "labresult": result,
            "labresulttext": None if result is None else f"{result:g}", "labmeasurenamesystem": unit,
            "labresultrevisedoffset": minute + 17,
        }  # fmt: skip
        self.add("lab", **{**usual, **values})

    def by_seed(self, stay: int, hour: int, feature: str, value: float | None) -> None:
        """Say what the cell is with the preset ``seed``."""
        self.seed_cells.append((stay, hour, feature, value))


def _ages(unit: _Unit) -> None:
    """Write ages that are no number, and both sides of the age of 18."""
    unit.seen(unit.stay(1001, age="> 89"), 30, HEART, 81)
    unit.seen(unit.stay(1002, age="18", gender="Male"), 30, HEART, 82)
    for stay, age in ((1003, None), (1004, "17")):
        unit.chart(unit.stay(stay, kept=False, age=age), 30, HEART, "83", HEART)
        unit.lose("adults")
        unit.lose("find the stay")


def _unknowns(unit: _Unit) -> None:
    """Write sexes other than two, an outcome that is not known, a stay on a step-down unit."""
    unit.seen(unit.stay(1011, gender="Unknown"), 30, HEART, 84)
    unit.seen(unit.stay(1012, gender=None, ethnicity=None), 30, HEART, 85)
    unit.stay(1013, kept=False, hospitaldischargestatus=None)
    unit.lose("known outcome")
    unit.stay(1014, kept=False, unitstaytype="stepdown/other")
    unit.lose("intensive care")


def _several_stays(unit: _Unit) -> None:
    """Write two stays of a hospital stay and, of the same patient, one of another."""
    pid: dict[str, Any] = {"uniquepid": "002-1021"}
    unit.seen(unit.stay(1021, patienthealthsystemstayid=101021, **pid), 30, HEART, 86)
    unit.stays[1021]["readmission"] = 1
    unit.stay(1022, kept=False, patienthealthsystemstayid=101021, unitvisitnumber=2, **pid)
    unit.lose("first unit stay")
    unit.seen(unit.stay(1023, **pid), 30, HEART, 87)


def _lengths(unit: _Unit) -> None:
    """Write stays of a minute, of 47 and of 48 hours, without an end and with one before the start."""
    for stay, hours in ((1031, 1 / 60), (1032, 47)):
        unit.stay(stay, kept=False, hours=hours)
        unit.lose("drop short stays")
    unit.seen(unit.stay(1033, hours=48), 48 * 60, HEART, 88)
    unit.stay(1034, kept=False, unitdischargeoffset=None)
    unit.lose("drop stays without an end")
    unit.stay(1035, kept=False, unitdischargeoffset=-5)
    unit.lose("drop impossible times")


def _deaths(unit: _Unit) -> None:
    """Write a death in the unit, and one in the hospital afterwards; a stay without any event."""
    dead = "Expired"
    unit.seen(unit.stay(1041, hospitaldischargestatus=dead, unitdischargestatus=dead), 30, HEART, 89)
    unit.stay(1042, hospitaldischargestatus=dead)


def _sizes(unit: _Unit) -> None:
    """Write height and weight that stand in each other's place, in metres, in decimetres, and impossible."""
    for stay, height, weight, meant in (
        (1051, 80.0, 170.0, (170, 80)),
        (1052, 1.75, 75.0, (175, 75)),
        (1053, 17.5, 75.5, (175, 75.5)),
        (1054, 600.0, 15.0, (None, None)),
        (1055, 72.0, 70.0, (None, 70)),
        (1056, None, 400.0, (None, None)),
    ):
        unit.stay(stay, admissionheight=height, admissionweight=weight)
        unit.stays[stay]["height"], unit.stays[stay]["weight"] = meant


def _laboratory(unit: _Unit) -> None:
    """Write results around the start and the window's end, bounds, revisions, and oxygen in every form."""
    stay = unit.stay(1061)
    for minute, glucose in ((-59, 90), (-1, 91), (0, 92), (59, 93), (60, 94), (2880, 95), (2881, 96), (3601, 97)):
        unit.lab(stay, minute, "glucose", glucose)
        if 0 <= minute <= 2880:
            unit.keep(stay, minute, "Glucose", glucose)
        else:
            step = "precedes the stay" if minute < 0 else "follows the window" if minute < 3600 else "follows the stay"
            unit.lose(f"drop what {step}")
    unit.lab(stay, 100, "bedside glucose", None, labresulttext=">600")
    unit.keep(stay, 100, "Glucose", 600)
    unit.lab(stay, 101, "glucose", None, labresulttext="hemolyzed")
    unit.lose("read the values")
    unit.lab(stay, 110, "glucose", 120, labresultrevisedoffset=120)
    unit.lab(stay, 110, "glucose", 130, labresultrevisedoffset=150)
    unit.keep(stay, 110, "Glucose", 130)
    unit.lab(stay, 111, "glucose", 140)
    unit.lab(stay, 111, "glucose", 141)
    unit.lose("drop rows marked as errors", 3)
    unit.lab(stay, 112, "glucose", 142)
    unit.lab(stay, 112, "glucose", 142)
    unit.lab(stay, 112, "bedside glucose", 148)
    for glucose in (142, 142, 148):
        unit.keep(stay, 112, "Glucose", glucose)
    unit.lab(stay, 200, "FiO2", 0.4, "%")
    unit.lab(stay, 201, "FiO2", 40, "%")
    for minute in (200, 201):
        unit.keep(stay, minute, OXYGEN, 0.4)
    unit.lab(stay, 202, "FiO2", 10000, "%")
    unit.lab(stay, 203, "FiO2", 15, "%")
    unit.lab(stay, 204, "FiO2", 50, "mm(hg)")
    unit.lose("read the values", 3)
    unit.lab(stay, 300, "pH", 7.31, "")
    unit.keep(stay, 300, "pH", 7.31)
    unit.lab(stay, 301, "pH", 731, "")
    unit.lose("check the range")
    for minute, name, result, its_unit, text in (
        (400, "CRP", 2, "mg/dL", "2"), (401, "CRP", 20, "MG/L", "20"), (402, "calcium", 2.2, "mmol/L", "2.2"),
        (403, "calcium", 9, "mg/dl", "9"), (404, "magnesium", 2, "mEq/L", "2"),
        (405, "troponin - T", None, "ng/mL", "<0.02"), (406, "creatinine", 1.1, "mg/dL", "1.1"),
    ):  # fmt: skip
        unit.lab(stay, minute, name, result, its_unit, labresulttext=text)
        unit.lose("keep the panel's codes")


def _charts(unit: _Unit) -> None:
    """Write charted values that are none, both ways to take the pressure, and the scores."""
    stay = unit.stay(1071)
    for minute, text in enumerate(("-", ".", "unable", "98.6.1", "", None)):
        unit.chart(stay, 10 + minute, HEART, text, HEART)
        unit.lose("read the values")
    for minute, rate in ((20, 24), (21, 226)):
        unit.chart(stay, minute, HEART, str(rate), HEART)
        unit.lose("check the range")
    unit.seen(stay, 22, HEART, 25)
    unit.seen(stay, 23, HEART, 225)
    unit.seen(stay, 30, "Temperature (F)", 98.6, 37)
    unit.seen(stay, 31, "Temperature (C)", 36.5)
    unit.seen(stay, 32, "Temperature (C)", 98.6, 37)
    unit.seen(stay, 33, SATURATED, 0.97, 97)
    for name, pressure in (("Invasive BP", 120), ("Non-Invasive BP", 110)):
        unit.seen(stay, 40, f"{name} Systolic", pressure)
        unit.seen(stay, 40, f"{name} Diastolic", pressure - 50)
        unit.seen(stay, 40, f"{name} Mean", pressure - 30)
    for minute, label in ((50, "MAP (mmHg)"), (51, "Arterial Line MAP (mmHg)")):
        unit.chart(stay, minute, "Value", "76", label)
        unit.keep(stay, minute, MEAN, 76)
    for minute, names in ((60, ("Eyes", "Motor", "Verbal")), (61, ("Eyes", "Motor"))):
        for score, name in enumerate(names, 3):
            unit.seen(stay, minute, name, score)
    unit.settle(stay, 60, TOTAL, 12, summed=True)
    unit.seen(stay, 62, "GCS Total", 15)
    unit.chart(stay, 63, "Value", "14", "Score (Glasgow Coma Scale)")
    unit.keep(stay, 63, TOTAL, 14)
    unit.chart(stay, 64, "GCS Total", "Unable to score due to medication", "Glasgow coma score")
    unit.lose("read the values")
    # One time, several entries: of a score the last entered counts, of the rest the mean.
    for entered, motor, rate in ((80, 4, 60), (90, 5, 70), (70, 6, 80)):
        unit.chart(stay, 70, "Motor", str(motor), "Glasgow coma score", nursingchartentryoffset=entered)
        unit.chart(stay, 70, HEART, str(rate), HEART, nursingchartentryoffset=entered)
        unit.keep(stay, 70, MOTOR, motor)
        unit.keep(stay, 70, "Heart Rate", rate)
    unit.settle(stay, 70, MOTOR, 5)
    unit.chart(stay, 80, HEART, "77", HEART, nursingchartcelltypecat="Notes")
    unit.chart(stay, 81, "Temperature Location", "ORAL", "Temperature")
    unit.lose("keep the panel's codes", 2)


def _other_tables(unit: _Unit) -> None:
    """Write what the panel of 48 variables reads beside the laboratory, and the hospitals."""
    stay = unit.stay(1081)
    unit.add("vitalPeriodic", patientunitstayid=stay, observationoffset=5, heartrate=80, sao2=97, temperature=36.6)
    unit.add("vitalPeriodic", patientunitstayid=stay, observationoffset=10, heartrate=82, systemicsystolic=118)
    unit.add("vitalPeriodic", patientunitstayid=stay, observationoffset=-5, heartrate=70)
    unit.add("vitalAperiodic", patientunitstayid=stay, observationoffset=10, noninvasivesystolic=122.0)
    for minute, text in ((20, "40"), (21, "40%"), (22, "0.5"), (23, "room air")):
        unit.add(
            "respiratoryCharting", patientunitstayid=stay, respchartoffset=minute, respchartentryoffset=minute,
            respchartvaluelabel="FiO2", respchartvalue=text,
        )  # fmt: skip
    for label, amount in (("Urine", 100.0), ("Foley catheter output", 50.0), ("Stool", 30.0)):
        unit.add(
            "intakeOutput", patientunitstayid=stay, intakeoutputoffset=30, intakeoutputentryoffset=31,
            celllabel=label, cellvaluenumeric=amount, cellvaluetext=f"{amount:g}",
        )  # fmt: skip
    unit.add("hospital", hospitalid=73, numbedscategory="250 - 499", teachingstatus="t", region="Midwest")
    unit.add("hospital", hospitalid=74, numbedscategory=None, teachingstatus="False", region=None)
    unit.add("infusionDrug" if "infusionDrug" in unit.columns else "infusiondrug", patientunitstayid=stay)


def _hours(unit: _Unit) -> None:
    """Write a stay that the preset ``seed`` keeps, with all that its rows show."""
    stay = unit.stay(1091, hours=72, admissionheight=90.0, admissionweight=80.0)
    unit.stays[stay]["height"] = None
    unit.seed[stay] = {"mortality": 0, "age": 60}
    unit.chart(stay, -30, HEART, "66", HEART)
    unit.lose("drop what precedes the stay")
    for hour in range(1, 21):
        if hour != 13:
            unit.seen(stay, 60 * hour + 5, HEART, 70 + hour)
    unit.seen(stay, 60 * 5 + 50, BREATH, 18)
    unit.seen(stay, 60 * 6 + 30, HEART, 90)
    unit.lab(stay, 60 * 8 + 5, "glucose", 150)
    unit.keep(stay, 60 * 8 + 5, "Glucose", 150)
    unit.lab(stay, 60 * 10, "bedside glucose", 200)
    unit.keep(stay, 60 * 10, "Glucose", 200)
    for hour, oxygen in ((10, 40), (11, 0.4)):
        unit.lab(stay, 60 * hour + 5, "FiO2", oxygen, "%")
        unit.keep(stay, 60 * hour + 5, OXYGEN, 0.4)
    unit.seen(stay, 60 * 12 + 5, "Non-Invasive BP Systolic", 120)
    unit.seen(stay, 60 * 12 + 5, "Invasive BP Systolic", 130)
    unit.seen(stay, 60 * 13 + 5, HEART, 83)
    unit.chart(stay, 60 * 13 + 5, HEART, "high", HEART)
    unit.lose("read the values")
    unit.seen(stay, 60 * 13 + 5, BREATH, 20)
    unit.seen(stay, 60 * 14 + 5, "Temperature (F)", 98.6, 37)
    unit.seen(stay, 60 * 21, "Eyes", 4)
    unit.chart(stay, 60 * 73, HEART, "99", HEART)
    unit.lose("drop what follows the stay")
    for seed_cell in (
        (0, "Heart Rate", None), (1, "Heart Rate", 71), (5, "Heart Rate", 75), (5, "Respiratory Rate", 18),
        (6, "Heart Rate", 90), (7, "glucose", 150), (8, "glucose", None), (9, "glucose", 200), (10, "glucose", None),
        (10, "FiO2", 40), (11, "FiO2", 15), (12, "Invasive BP Systolic", 130), (13, "Heart Rate", None),
        (13, "Respiratory Rate", 20), (14, "Temperature (C)", 37), (21, "admissionheight", 100),
        (21, "admissionweight", 80), (21, "Heart Rate", None), (73, "Heart Rate", None),
    ):  # fmt: skip
        unit.by_seed(stay, *seed_cell)


def _add_plain(unit: _Unit, patients: int, seed: int) -> None:
    """Add adults with one stay, whose values show how ill they are."""
    draw = random.Random(seed)
    for number in range(patients):
        ill = draw.random()
        dead = draw.random() < ill**2
        stay = unit.stay(
            20_001 + number,
            hours=draw.randint(48, 120),
            age=str(draw.randint(18, 89)),
            gender=draw.choice(("Female", "Male")),
            hospitalid=draw.choice((73, 74)),
            unitdischargestatus=draw.choice(("Expired", "Alive")) if dead else "Alive",
            hospitaldischargestatus="Expired" if dead else "Alive",
        )
        row = unit.rows["patient"][-1]
        unit.seed[stay] = {"mortality": int(dead), "age": int(row["age"])}
        for hour in range(48):
            for name, (mean, spread, change) in _PLAIN.items():
                if draw.random() < 0.7:
                    unit.seen(stay, 60 * hour + 10, name, round(min(draw.gauss(mean + change * ill, spread / 2), 100)))
        for hour in range(2, 48, 8):
            glucose = round(draw.gauss(130 + 60 * ill, 15))
            unit.lab(stay, 60 * hour + 10, "glucose", glucose)
            unit.keep(stay, 60 * hour + 10, "Glucose", glucose)
