"""The panels of eICU: the bedside variables under MIMIC's names, and the 48 variables of YAIB.

``vitals14`` has the features, names and units of MIMIC's ``vitals17`` that eICU charts, so that a model can go from
one to the other; its ranges are those of the eICU code repository, and so are the labels of the nurses' charts.
``labs48`` has the features and ranges of :mod:`auscult.core.data.mimic_labs`; its items are those of the R package
ricu, but for magnesium in mEq/L, which is multiplied by 1.215 to give mg/dL (ricu divides).

A row of the nurses' charts is known by its label and its name, ``Temperature|Temperature (F)``.
"""

from collections.abc import Mapping

from auscult.core.data.conversions import NUMBER, celsius, fahrenheit, oxygen_fraction, percent, times, unless_unit
from auscult.core.data.feature import Feature
from auscult.core.data.mimic_labs import LABS as MIMIC_LABS
from auscult.core.data.mimic_vitals import (
    DIASTOLIC,
    EYE,
    MEAN,
    MIMIC4,
    MOTOR,
    OXYGEN,
    SATURATION,
    SYSTOLIC,
    TOTAL,
    VERBAL,
)
from auscult.core.data.panel import Bounds, Panel, Source, Variable

NURSE, LAB, RESPIRATORY, INTAKE = "nursecharting", "lab", "respiratorycharting", "intakeoutput"
PERIODIC, APERIODIC = "vitalperiodic", "vitalaperiodic"
# Rows of other categories are notes, assessments, goals.
NURSE_CATEGORIES = ("Vital Signs", "Scores", "Other Vital Signs and Infusions")
_COMA = "Glasgow coma score"
_NO_PRESSURE = "mm%hg%"


def _nurse(*codes: str, value: str = NUMBER) -> Source:
    return Source(NURSE, codes, value)


def _lab(*names: str, value: str = NUMBER) -> Source:
    return Source(LAB, names, value)


_FEATURES: Mapping[str, Feature] = {variable.feature.name: variable.feature for variable in MIMIC4.variables}
_BEDSIDE: Mapping[str, tuple[Bounds, tuple[Source, ...]]] = {
    EYE: (Bounds(1, 4), (_nurse(f"{_COMA}|Eyes"),)),
    MOTOR: (Bounds(1, 6), (_nurse(f"{_COMA}|Motor"),)),
    TOTAL: (Bounds(3, 15), (_nurse(f"{_COMA}|GCS Total", "Score (Glasgow Coma Scale)|Value"),)),
    VERBAL: (Bounds(1, 5), (_nurse(f"{_COMA}|Verbal"),)),
    DIASTOLIC: (
        Bounds(1, 200),
        (_nurse("Invasive BP|Invasive BP Diastolic", "Non-Invasive BP|Non-Invasive BP Diastolic"),),
    ),
    OXYGEN: (Bounds(0.2, 1), (_lab("FiO2", value=unless_unit(_NO_PRESSURE, oxygen_fraction(), "NULL")),)),
    "Glucose": (Bounds(25, 1500), (_lab("glucose", "bedside glucose"),)),
    "Heart Rate": (Bounds(25, 225), (_nurse("Heart Rate|Heart Rate"),)),
    MEAN: (
        Bounds(1, 250),
        (
            _nurse(
                "Invasive BP|Invasive BP Mean",
                "Arterial Line MAP (mmHg)|Value",
                "MAP (mmHg)|Value",
                "Non-Invasive BP|Non-Invasive BP Mean",
            ),
        ),
    ),
    SATURATION: (Bounds(0, 100), (_nurse("O2 Saturation|O2 Saturation", value=percent()),)),
    "Respiratory rate": (Bounds(0, 60), (_nurse("Respiratory Rate|Respiratory Rate"),)),
    SYSTOLIC: (
        Bounds(1, 300),
        (_nurse("Invasive BP|Invasive BP Systolic", "Non-Invasive BP|Non-Invasive BP Systolic"),),
    ),
    "Temperature": (
        Bounds(25, 46),
        (
            _nurse("Temperature|Temperature (C)", value=celsius()),
            _nurse("Temperature|Temperature (F)", value=fahrenheit()),
        ),
    ),
    "pH": (Bounds(6.5, 8.5), (_lab("pH"),)),
}
VITALS = Panel(
    "vitals14",
    tuple(
        Variable(_FEATURES[name], sources, bounds, sum_of=(EYE, MOTOR, VERBAL) if name == TOTAL else ())
        for name, (bounds, sources) in _BEDSIDE.items()
    ),
)

_ITEMS: Mapping[str, tuple[Source, ...]] = {
    "alb": (_lab("albumin"),),
    "alp": (_lab("alkaline phos."),),
    "alt": (_lab("ALT (SGPT)"),),
    "ast": (_lab("AST (SGOT)"),),
    "be": (_lab("Base Excess"),),
    "bicar": (_lab("bicarbonate", "HCO3"),),
    "bili": (_lab("total bilirubin"),),
    "bili_dir": (_lab("direct bilirubin"),),
    "bnd": (_lab("-bands"),),
    "bun": (_lab("BUN"),),
    "ca": (_lab("calcium", value=unless_unit("mmol/l", NUMBER, times(4))),),
    "cai": (_lab("ionized calcium"),),
    "ck": (_lab("CPK"),),
    "ckmb": (_lab("CPK-MB"),),
    "cl": (_lab("chloride"),),
    "crea": (_lab("creatinine"),),
    "crp": (_lab("CRP", value=unless_unit("mg/dl", NUMBER, times(10))),),
    "dbp": (Source(PERIODIC, ("systemicdiastolic",)), Source(APERIODIC, ("noninvasivediastolic",))),
    "fgn": (_lab("fibrinogen"),),
    "fio2": (
        Source(RESPIRATORY, ("FiO2",), percent()),
        _lab("FiO2", value=unless_unit(_NO_PRESSURE, percent(), "NULL")),
    ),
    "glu": (_lab("glucose", "bedside glucose"),),
    "hgb": (_lab("Hgb"),),
    "hr": (Source(PERIODIC, ("heartrate",)),),
    "inr_pt": (_lab("PT - INR"),),
    "k": (_lab("potassium"),),
    "lact": (_lab("lactate"),),
    "lymph": (_lab("-lymphs"),),
    "map": (Source(PERIODIC, ("systemicmean",)), Source(APERIODIC, ("noninvasivemean",))),
    "mch": (_lab("MCH"),),
    "mchc": (_lab("MCHC"),),
    "mcv": (_lab("MCV"),),
    "methb": (_lab("Methemoglobin"),),
    "mg": (_lab("magnesium", value=unless_unit("meq/l", NUMBER, times(1.215))),),
    "na": (_lab("sodium"),),
    "neut": (_lab("-polys"),),
    "o2sat": (Source(PERIODIC, ("sao2",)), _lab("O2 Sat (%)")),
    "pco2": (_lab("paCO2"),),
    "ph": (_lab("pH"),),
    "phos": (_lab("phosphate"),),
    "plt": (_lab("platelets x 1000"),),
    "po2": (_lab("paO2"),),
    "ptt": (_lab("PTT"),),
    "resp": (Source(PERIODIC, ("respiration",)),),
    "sbp": (Source(PERIODIC, ("systemicsystolic",)), Source(APERIODIC, ("noninvasivesystolic",))),
    "temp": (Source(PERIODIC, ("temperature",), celsius()),),
    "tnt": (_lab("troponin - T"),),
    "urine": (Source(INTAKE, ("Urine", "URINE CATHETER")),),
    "wbc": (_lab("WBC x 1000"),),
}
LABS = Panel(
    "labs48",
    tuple(
        Variable(variable.feature, _ITEMS[variable.feature.name], variable.bounds, variable.combine)
        for variable in MIMIC_LABS.variables
    ),
)
PANELS = {panel.name: panel for panel in (VITALS, LABS)}
