"""A made-up CDSL in any of its three forms, with every trap that its reader has to know.

Patients, times and values are invented; file names, separators, encodings, headers, item names and the wording of
results are those of the real files.
"""

import csv
import dataclasses
import gzip
import io
import json
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from auscult.core.data.lookalike.cdsl_rows import (
    TRAP_ADMISSIONS,
    TRAP_RESULTS,
    TRAP_VITALS,
    Admission,
    Result,
    Vital,
)
from auscult.core.data.lookalike.scenario import Scenario, Truth
from auscult.core.errors import InputError
from auscult.core.files import replace_atomically

Form = Literal["v3", "v2", "physionet"]


class Rows(NamedTuple):
    """The rows of the three tables."""

    admissions: list[Admission]
    vitals: list[Vital]
    results: list[Result]


def write_cdsl(
    folder: str | Path, *, n_patients: int = 0, seed: int = 0, form: Form = "v3", packed: bool = False
) -> Truth:
    """Write the files of one form of CDSL, and ``truth.json`` beside them.

    Parameters
    ----------
    folder
        New or empty.
    n_patients
        How many plain patients to add to those that hold the traps: vital signs every six hours and blood every
        morning, some of them dying.
    seed
        Of the plain patients.
    form
        ``v3`` (HM Hospitales 2021), ``v2`` (2020) or ``physionet``.
    packed
        Whether to gzip the files.

    Returns
    -------
    Truth
        What the reader has to make of them.

    Raises
    ------
    InputError
        Where the folder holds something, or an option is unknown.
    """
    root = Path(folder)
    if form not in get_args(Form):
        raise InputError(f"form is {form!r}: use one of {', '.join(get_args(Form))}")
    if n_patients < 0:
        raise InputError(f"n_patients is {n_patients}: give 0 or more")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{str(root)!r} is there already: name a folder that is new or empty")
    rows = Rows([*TRAP_ADMISSIONS], [*TRAP_VITALS], [*TRAP_RESULTS])
    _add_plain(rows, n_patients, random.Random(seed))
    place = root / "19_04_2021" if form == "v3" else root
    for name, (separator, encoding, table) in {"v3": _v3, "v2": _v2, "physionet": _physionet}[form](rows).items():
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator, lineterminator="\r\n" if form == "v2" else "\n").writerows(table)
        content = text.getvalue().encode(encoding)
        place.mkdir(parents=True, exist_ok=True)
        path = place / (name + ".gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    truth = _truth(rows, form)
    saved = json.dumps(dataclasses.asdict(truth), indent=1, ensure_ascii=False) + "\n"
    replace_atomically(root / "truth.json", lambda partial: partial.write_text(saved, encoding="utf-8"))
    return truth


def _add_plain(rows: Rows, patients: int, draw: random.Random) -> None:
    """Add patients without any trap; who fares worse has worse values and dies more often."""
    for number in range(patients):
        patient, ill = str(1000 + number), draw.random()
        start = datetime(2020, 4, 1, draw.randrange(24), draw.randrange(60)) + timedelta(days=draw.randrange(30))
        days = draw.randint(2, 12)
        died = draw.random() < ill**3
        age, sex = str(round(30 + 60 * (ill + draw.random()) / 2)), draw.choice(("MALE", "FEMALE"))
        destination = "Fallecimiento" if died else "Domicilio"
        rows.admissions.append(Admission(patient, age, sex, str(start), str(start + timedelta(days=days)), destination))
        for hour in range(0, 24 * days, 6):
            day, clock = f"{start + timedelta(hours=hour):%Y-%m-%d %H:%M}".split()
            cells = (
                draw.randint(100, 150),
                draw.randint(50, 90),
                round(36 + 3 * ill * draw.random(), 1),
                round(60 + 60 * ill * draw.random()),
                round(98 - 15 * ill * draw.random()),
            )
            written = [str(cell).replace(".", ",") for cell in cells]
            rows.vitals.append(Vital(patient, day, clock, (*written,), cells))  # type: ignore[arg-type]
        for day_number in range(days):
            morning = f"{start + timedelta(days=day_number):%d/%m/%Y}"
            for item, code, unit, low, spread in _PLAIN_ITEMS:
                value = round(low + spread * (ill + draw.random()) / 2, 2)
                number_ = f"{patient}-{day_number}"
                rows.results.append(
                    Result(patient, number_, morning, f"{start:%H:%M}", item, f"{value:.2f}", unit, code, value)
                )


_Table = tuple[str, str, Iterable[Sequence[str]]]


def _v3(rows: Rows) -> dict[str, _Table]:
    patients = [_PATIENT_V3] + [
        [a.age, a.sex, a.id, a.admitted, a.discharged, a.destination, *[""] * 21, a.id,
         "2020-03-20 09:00:00" if a.id == "106" else "", *[""] * 6]
        for a in rows.admissions
    ]  # fmt: skip
    vitals = [_VITALS_V3] + [[v.id, v.date, v.clock, *v.cells, "", "0"] for v in rows.vitals]
    return {
        "COVID_DSL_01.CSV": ("|", "cp850", patients),
        "COVID_DSL_02.CSV": ("|", "cp850", vitals),
        "COVID_DSL_04.CSV": ("|", "cp850", [_MEDICATION_V3, ["101", "PARACETAMOL", *[""] * 7]]),
        "COVID_DSL_06_v2.CSV": (";", "cp850", [_LAB_V3, *_lab_rows(rows)]),
    }


def _v2(rows: Rows) -> dict[str, _Table]:
    patients = [_PATIENT_V2] + [
        [a.id, a.age, a.sex, "", a.admitted, a.discharged, a.destination] for a in rows.admissions
    ]
    vitals = [_VITALS_V2] + [
        [v.id, v.date, v.clock, v.cells[3], "0", v.cells[4], v.cells[0], v.cells[1], v.cells[2]] for v in rows.vitals
    ]
    return {
        "CDSL_01.csv": (";", "utf-8-sig", patients),
        "CDSL_03.csv": (";", "latin-1", vitals),
        "CDSL_04.csv": (";", "latin-1", [_LAB_V2, *_lab_rows(rows)]),
    }


def _physionet(rows: Rows) -> dict[str, _Table]:
    patients = [_PATIENT_PHYSIONET] + [
        [a.id, a.age, a.sex, "COVID CONFIRMED", a.admitted, a.discharged, _DESTINATIONS.get(a.destination, "")]
        for a in rows.admissions
    ]
    vitals = [_VITALS_PHYSIONET]
    for number, v in enumerate(rows.vitals):
        when = [v.date and f"{v.date} 00:00:00", v.clock and f"{v.clock}:00"]
        vitals.append([str(number), v.id, *when, *(cell.replace(",", ".") for cell in v.cells), "", "0"])
    lab: list[Sequence[str]] = []
    for number, r in enumerate(rows.results):
        text = r.text
        for spanish, english in _WORDS_IN_ENGLISH:
            text = text.replace(spanish, english)
        pair = ["", text] if any(letter.isalpha() for letter in text) else [text, ""]
        item = _ITEMS_IN_ENGLISH[" ".join(r.item.split())]
        lab.append([str(number), r.id, r.number, _iso(r.date), f"{r.clock}:00", item, *pair, r.unit, ""])
    lab.append([*lab[-1], "one field too many"])
    half = len(lab) // 2
    return {
        "patient_01.csv": (",", "latin-1", patients),
        "vital_signs_04.csv": (",", "latin-1", vitals),
        "lab_06_1.csv": (",", "latin-1", [_LAB_PHYSIONET, *lab[:half]]),
        "lab_06_2.csv": (",", "latin-1", [_LAB_PHYSIONET, *lab[half:]]),
    }


def _lab_rows(rows: Rows) -> list[Sequence[str]]:
    lines: list[Sequence[str]] = [[*row[:7], ""] for row in rows.results]
    return [*lines[:40], [*lines[40], "one field too many"], *lines[40:]]


def _iso(date: str) -> str:
    return "-".join(reversed(date.replace("/", "-").split("-"))) if date[2] in "/-" else date


def _truth(rows: Rows, form: Form) -> Truth:
    """Add up what the rows say of themselves."""
    scenario = Scenario({})
    kept = {a.id: a for a in rows.admissions if a.id not in ("", "104", "105", "110")}
    for admission in kept.values():
        scenario.stays[int(admission.id)] = {
            "subject": int(admission.id),
            "sex": {"FEMALE": 0.0, "MALE": 1.0}.get(admission.sex),
            "age": float(admission.age) if admission.age else None,
            "mortality": int(admission.destination == "Fallecimiento"),
        }
    scenario.lose("drop incomplete admissions", 3)
    scenario.lose("drop impossible stays")
    scenario.lose("skip broken lines")

    def place(patient: str, date: str, clock: str, feature: str, value: float) -> None:
        if patient not in kept:
            scenario.lose("find the admission")
        elif not date or not clock:
            scenario.lose("drop values without a time")
        else:
            start, end = (datetime.fromisoformat(text) for text in (kept[patient].admitted, kept[patient].discharged))
            at = datetime.fromisoformat(f"{_iso(date)} {clock}")
            if at > end:
                scenario.lose("drop what follows the stay")
            else:
                scenario.keep(int(patient), (at - start).total_seconds() / 60, feature, value)

    for vital in rows.vitals:
        for feature, cell, meant in zip(_SIGNS, vital.cells, vital.expected, strict=True):
            scenario.lose("mark 0 as missing", cell == "0")
            scenario.lose("check the range", meant == -1)
            if meant > 0:
                place(vital.id, vital.date, vital.clock, feature, meant)
    for row in rows.results:
        code = "PH" if form == "physionet" and row.code == "PHV" else row.code
        scenario.lose("keep the panel", code is None)
        scenario.lose("read the results", code is not None and row.value is None)
        if code is not None and row.value is not None:
            place(row.id, row.date, row.clock, code, row.value)
    if form != "physionet":
        scenario.seed_cells = [*_SEED_CELLS]
    return scenario.truth()


_SIGNS = ("TA_MAX", "TA_MIN", "TEMP", "FC", "SAT_02")
_PLAIN_ITEMS = (
    ("K -- POTASIO", "K", "mmol/L", 3.4, 2.0),
    ("NA -- SODIO", "NA", "mmol/L", 130.0, 20.0),
    ("PCR -- PROTEINA C REACTIVA", "PCR", "mg/L", 1.0, 300.0),
    ("LDH -- LDH", "LDH", "U/L", 150.0, 800.0),
)
# The sign that a negative result gets, a whole number that is none, the bounds that stay, hours after discharge.
_SEED_CELLS: list[tuple[int, float, str, float | str | None]] = [
    (238, 23.0, "K -- POTASIO", -0.2),
    (101, 525.0, "K -- POTASIO", None),
    (101, 1.0, "HEART_RATE", None),
    (101, 2.0, "MAX_BLOOD_PRESSURE", 310.0),
    (101, 3.0, "HEART_RATE", None),
    (101, 194.5, "HEART_RATE", 80.0),
    (101, 195.0, "HEART_RATE", 81.0),
]
_PATIENT_V3 = [
    "EDAD", "SEX", "IDINGRESO", "F_INGRESO_ING", "F_ALTA_ING", "MOTIVO_ALTA_ING", "DIAGNOSTICO_ING", "F_INGRESO_URG",
    "HORA_URG", "DIAG_URG", "ESPECIALIDAD_URGENCIA", "HORA_CONSTANTES_PRIMERA_URG", "TA_MAX_PRIMERA_URG",
    "TA_MIN_PRIMERA_URG", "TEMP_PRIMERA_URG", "FC_PRIMERA_URG", "SAT_02_PRIMERA_URG", "GLU_PRIMERA_URG",
    "DIURESIS_PRIMERA_URG", "HORA_CONSTANTES_ULTIMA_URG", "TA_MAX_ULTIMA_URG", "TA_MIN_ULTIMA_URG", "TEMP_ULTIMA_URG",
    "FC_ULTIMA_URG", "SAT_02_ULTIMA_URG", "GLU_ULTIMA_URG", "DESTINO_URG", "IDCDSL", "F_ING_ANT", "DIAG_ANT",
    "RESPIRADOR", "F_UCI_IN", "F_UCI_OUT", "UCI_DAYS", "UCI_N_ING",
]  # fmt: skip
_PATIENT_PHYSIONET = [
    "patient_id", "age", "sex", "diag_inpat", "admission_d_inpat", "discharge_date", "destin_discharge"
]  # fmt: skip
_VITALS_PHYSIONET = [
    "id_vital_sign", "patient_id", "constants_ing_date", "constants_ing_time", "bp_max_ing", "bp_min_ing", "temp_ing",
    "hr_ing", "sat_02_ing", "sat_02_ing_obs", "glu_ing",
]  # fmt: skip
_LAB_PHYSIONET = [
    "lab_id", "patient_id", "lab_number", "lab_date", "time_lab", "item_lab", "val_result", "result_text", "ud_result",
    "ref_values",
]  # fmt: skip
_VITALS_V3 = [
    "IDINGRESO", "CONSTANTS_ING_DATE", "CONSTANTS_ING_TIME", "TA_MAX_ING", "TA_MIN_ING", "TEMP_ING", "FC_HR_ING",
    "SAT_02_ING", "SAT_02_ING_OBS", "GLU_GLY_ING",
]  # fmt: skip
_MEDICATION_V3 = [
    "IDINGRESO", "DRUG_COMERCIAL_NAME", "ID_ATC5", "ATC5_NAME", "ID_ATC7", "ATC7_NAME", "DAILY_AVRG_DOSE",
    "DRUG_START_DATE", "DRUG_END_DATE",
]  # fmt: skip
_LAB_V3 = [
    "IDINGRESO", "LAB_NUMBER", "LAB_DATE", "TIME_LAB", "ITEM_LAB", "VAL_RESULT", "UD_RESULT", "REF_VALUES",
]  # fmt: skip
_PATIENT_V2 = [
    "PATIENT ID", "EDAD/AGE", "SEXO/SEX", "DIAG ING/INPAT", "F_INGRESO/ADMISSION_D_ING/INPAT",
    "F_ALTA/DISCHARGE_DATE_ING", "MOTIVO_ALTA/DESTINY_DISCHARGE_ING",
]  # fmt: skip
_VITALS_V2 = [
    "PATIENT ID", "CONSTANTS_ING/INPAT_FECHA/DATE", "CONSTANTS_ING/INPAT_HORA/TIME", "FC/HR_ING/INPAT",
    "GLU/GLY_ING/INPAT", "SAT_02_ING/INPAT", "TA_MAX_ING/INPAT", "TA_MIN_ING/INPAT", "TEMP_ING/INPAT",
]  # fmt: skip
_LAB_V2 = [
    "PATIENT ID", "PETICION_LABORATORIO/LAB_NUMBER", "FECHA_PETICION/LAB_DATE", "HORA_PETICION/TIME_LAB",
    "DETERMINACION/ITEM_LAB", "RESULTADO/VAL_RESULT", "UNIDADES/UD_RESULT", "VALORES_REFERENCIA/REF_VALUES",
]  # fmt: skip
_DESTINATIONS = {
    "Domicilio": "Home",
    "Fallecimiento": "Death",
    "Traslado al Hospital": "Transfer to Hospital",
    "Alta Voluntaria": "Voluntary Discharge",
    "Fuga": "Absconded",
}
_WORDS_IN_ENGLISH = (
    ("Sin resultado.", "No result"),
    ("Sin resultado", "No result"),
    ("No se detecta", "Not detected"),
    ("Se detecta", "Detected"),
    ("No se observan", "Not observed"),
    ("Se observan", "Observed"),
    ("Indeterminado", "Indeterminate"),
    ("Numerosos", "Numerous"),
    ("Aislados", "Isolated"),
    ("Muestra hemolizada", "Hemolyzed sample"),
    ("Negativo", "Negative"),
    ("Positivo", "Positive"),
    ("Título", "Titer"),
)
_ITEMS_IN_ENGLISH = {
    "PROCAL -- PROCALCITONINA": "PCT -- Procalcitonin",
    "PT -- PROTEINAS TOTALES": "TP -- Total Proteins",
    "TP -- TIEMPO DE PROTROMBINA": "PT -- Prothrombin Time",
    "BAS -- Basófilos": "BASO -- Basophils",
    "BAS -- SISTEMATICO DE SANGRE": "BASO -- Basophils (Blood Count)",
    "FIB -- FIBRINÓGENO": "FIB -- Fibrinogen",
    "BT -- BILIRRUBINA TOTAL": "TBIL -- Total Bilirubin",
    "PH -- pH": "PH -- pH",
    "PHV -- pH": "PH -- pH",
    "PCO2V -- pCO2": "PCO2 -- Partial Pressure of Carbon Dioxide (Venous)",
    "PCR -- PROTEINA C REACTIVA": "CRP -- C-reactive protein",
    "CREAOR -- CREATININA EN ORINA AIS.": "CREAOR -- Creatinine in Urine",
    "LEUL -- Recuento de Leucocitos": "WBC -- White blood cell (Leukocytes) count",
    "GRRH -- GRUPO SANGUÍNEO Y FACTOR Rh": "GRRH -- Blood Group and Rh Factor",
    "DD -- DIMERO D": "D-DIMER -- D-dimer",
    "LDH -- LDH": "LDH -- Lactate Dehydrogenase (LDH)",
    "G-CORONAV (RT-PCR) -- Tipo de muestra: Exudado Faríngeo/Nasofaríngeo": (
        "G-CORONAV (RT-PCR) -- Sample Type: Pharyngeal/Nasopharyngeal Exudate"
    ),
    "G-CORONAV (RT-PCR) -- Tipo de muestra: LAVADO BRONCOALVEOLAR": (
        "G-CORONAV (RT-PCR) -- COVID-19 RT-PCR: Bronchoalveolar lavage"
    ),
    "NA -- SODIO": "NA -- Sodium",
    "K -- POTASIO": "K -- Potassium",
    "FER -- FERRITINA": "FER -- Ferritin",
    "ALB -- ALBUMINA": "ALB -- Albumin",
}
