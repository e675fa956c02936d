"""The rows of a made-up CDSL that hold its traps, each with what it means."""

from typing import NamedTuple


class Admission(NamedTuple):
    """An admission as it stands in the file."""

    id: str
    age: str
    sex: str
    admitted: str
    discharged: str
    destination: str


class Vital(NamedTuple):
    """A row of vital signs as it stands in the file: systolic, diastolic, temperature, heart rate, saturation.

    ``expected`` is what each cell means: a number, 0 where the cell has none, -1 where it is not plausible.
    """

    id: str
    date: str
    clock: str
    cells: tuple[str, str, str, str, str]
    expected: tuple[float, float, float, float, float]


class Result(NamedTuple):
    """A laboratory row as it stands in the file, and what it means: the code and the number, None without any."""

    id: str
    number: str
    date: str
    clock: str
    item: str
    text: str
    unit: str
    code: str | None
    value: float | None


# With these, 100 patients have laboratory rows: POTASIO for all, FERRITINA for 9 of them, ALBUMINA for 11.
SPARE = 88
TRAP_ADMISSIONS = [
    Admission("101", "64", "MALE", "2020-03-20 10:00:00", "2020-03-28 12:30:00", "Domicilio"),
    Admission("102", "81", "FEMALE", "2020-03-21 00:00:00", "2020-03-22 06:00:00", "Fallecimiento"),
    Admission("103", "55", "MALE", "2020-03-22 08:00:00", "2020-03-24 08:00:00", "Traslado al Hospital"),
    Admission("104", "70", "MALE", "2020-03-22 09:00:00", "2020-03-25 09:00:00", ""),
    Admission("105", "71", "FEMALE", "2020-03-22 10:00:00", "", "Domicilio"),
    Admission("106", "47", "FEMALE", "2020-04-02 11:15:00", "2020-04-05 11:15:00", "Domicilio"),
    Admission("107", "39", "", "2020-03-23 12:00:00", "2020-03-26 12:00:00", "Domicilio"),
    Admission("108", "", "OTRO", "2020-03-23 13:00:00", "2020-03-26 13:00:00", "Fuga"),
    Admission("109", "9", "FEMALE", "2020-03-23 14:00:00", "2020-03-24 14:00:00", "Domicilio"),
    Admission("110", "66", "MALE", "2020-03-25 15:00:00", "2020-03-24 15:00:00", "Domicilio"),
    Admission("111", "58", "MALE", "2020-03-26 16:00:00", "2020-03-27 16:00:00", "Alta Voluntaria"),
    Admission("112", "90", "FEMALE", "2020-03-27 00:00:00", "2020-04-06 00:00:00", "Fallecimiento"),
    Admission("", "60", "MALE", "2020-03-27 00:00:00", "2020-04-06 00:00:00", "Domicilio"),
    *(
        Admission(str(200 + i), "50", "MALE", "2020-04-10 08:00:00", "2020-04-12 08:00:00", "Domicilio")
        for i in range(SPARE)
    ),
]
"""Every admission; 104, 105, 110 and the one without a number belong to no cohort, 111 has no measurement."""

TRAP_VITALS = [
    Vital("101", "2020-03-20", "10:30", ("120", "80", "36,5", "88", "95"), (120, 80, 36.5, 88, 95)),
    Vital("101", "2020-03-20", "10:30", ("130", "0", "37,5", "0", "0"), (130, 0, 37.5, 0, 0)),
    Vital("101", "2020-03-20", "08:00", ("110", "70", "", "90", "97"), (110, 70, 0, 90, 97)),
    Vital("101", "2020-03-20", "11:00", ("70", "110", "38.2", "221", "101"), (-1, -1, 38.2, 221, -1)),
    Vital("101", "2020-03-20", "12:00", ("310", "5", "29,9", "19", "100"), (-1, -1, -1, -1, 100)),
    Vital("101", "2020-03-20", "13:00", ("300", "10", "43", "250", "1"), (300, 10, 43, 250, 1)),
    Vital("101", "2020-03-28", "12:30", ("125", "75", "36", "80", "98"), (125, 75, 36, 80, 98)),
    Vital("101", "2020-03-28", "13:00", ("126", "76", "36,1", "81", "99"), (126, 76, 36.1, 81, 99)),
    Vital("101", "", "14:00", ("127", "77", "36,2", "82", "96"), (127, 77, 36.2, 82, 96)),
    Vital("101", "2020-03-21", "", ("128", "78", "36,3", "83", "94"), (128, 78, 36.3, 83, 94)),
    Vital("104", "2020-03-22", "10:00", ("129", "79", "36,4", "84", "93"), (129, 79, 36.4, 84, 93)),
    Vital("102", "2020-03-21", "23:59", ("90", "60", "39,1", "130", "82"), (90, 60, 39.1, 130, 82)),
    *(
        Vital("112", day, f"{hour % 24:02d}:05", ("", "", "", str(60 + hour), ""), (0, 0, 0, 60 + hour, 0))
        for hour in range(80)
        for day in [f"2020-03-{27 + hour // 24:02d}"]
    ),
]
"""Two rows of one minute; cells of 0; one pressure above the other; the bounds and what lies beyond; rows before the
stay, at its end, after it, without a day, without an hour, of an admission that was dropped; 80 hours in a row."""

TEXTS: tuple[tuple[str, float | None, float | None], ...] = (
    # The text, what it says, and what the notebook of published studies reads.
    ("Sin resultado.", None, None),
    ("Sin resultado", None, None),
    ("---", None, None),
    ("----", None, None),
    ("Indeterminado", None, None),
    ("Muestra hemolizada", None, None),
    ("Muestra\nhemolizada", None, None),
    ("Negativo (0.04)", 0, -0.04),
    ("Negativo (< 2.0)", 0, 2),
    ("Positivo (3.1)", 3.1, 3.1),
    ("Positivo (> 1000.0)", 1000, 1000),
    ("Zona limite (1.05)", 1.05, 1.05),
    (">12.5", 12.5, 12.5),
    ("< 0.02", 0.02, 0.02),
    ("25.5 mg/dl", 25.5, 25.5),
    ("25 mg/dl", 25, None),
    ("250.0/µl", 250, 250),
    ("1000.5 copias/mL", 1000.5, 1000.5),
    ("Numerosos", 1.5, 1.5),
    ("Aislados", 0.5, 0.5),
    ("Se detecta", 1, 1),
    ("Se observan", 1, 1),
    ("Normal", 1, 1),
    ("Positivo", 1, 1),
    ("No se detecta", 0, 0),
    ("No se observan", 0, 0),
    ("Negativo", 0, 0),
    ("aprox. 7.25 tras dilucion", 7.25, 7.25),
    ("Negativo Título <1/20", None, None),
    ("140", 140, None),
    ("140.5", 140.5, 140.5),
    ("3,7", 3.7, None),
    ("1 a 5", None, None),
)
"""Every form of a result; each stands once in the file, as procalcitonin of admission 101, a minute apart."""


def _trap_results() -> list[Result]:
    rows = [
        Result("101", f"s{i}", "20/03/2020", f"15:{i:02d}", "PROCAL -- PROCALCITONINA", text, "ng/mL", "PROCAL", value)
        for i, (text, value, _) in enumerate(TEXTS)
    ]

    def add(item: str, text: str, unit: str, code: str | None, value: float | None, *when: str) -> None:
        patient, number, date, clock = when or ("101", "a1", "21-03-2020", "06:00")
        rows.append(Result(patient, number, date, clock, item, text, unit, code, value))

    add("PT -- PROTEINAS TOTALES", "7.1", "g/dL", "PT", 7.1)
    add("TP -- TIEMPO DE PROTROMBINA", "13.2", "s", "TP", 13.2)
    add("BAS -- Basófilos", "0.04", "10^3/µL", "BAS", 0.04)
    add("BAS -- SISTEMATICO DE SANGRE", "0.06", "10^3/µL", "BAS", 0.06)
    add("FIB -- FIBRINÓGENO", "450.0", "mg/dL", "FIB", 450)
    add("BT -- BILIRRUBINA TOTAL", "0.8", "mg/dL", "BT", 0.8)
    add("BT -- BILIRRUBINA TOTAL" + " " * 40, "1.0", "MG/DL", "BT", 1)
    add("PH -- pH", "7.4", "", "PH", 7.4)
    add("PHV -- pH", "7.3", "", "PHV", 7.3)
    add("PCO2V -- pCO2", "46.0", "mmHg", "PCO2V", 46)
    add("PCR -- PROTEINA C REACTIVA", "12.5", "mg/L", "PCR", 12.5)
    add("CREAOR -- CREATININA EN ORINA AIS.", "88.0", "mg/dL", None, None)
    add("LEUL -- Recuento de Leucocitos", "3.0", "/µL", None, None)
    add("GRRH -- GRUPO SANGUÍNEO Y FACTOR Rh", "A Positivo", "", None, None)
    add("DD -- DIMERO D", "500.0", "ng/mL", "DD", 500)
    add("DD -- DIMERO D", "0.7", "mg/L", "DD", 0.7, "101", "a2", "22/03/2020", "06:00")
    add("LDH -- LDH", "200.0", "U/L", "LDH", 200, "101", "a3", "22-03-2020", "07:00")
    add("LDH -- LDH", "300.0", "U/L", "LDH", 300, "101", "a3", "22-03-2020", "07:00")
    add("LDH -- LDH", "400.0", "U/L", "LDH", 400, "101", "a4", "22/03/2020", "07:00")
    exudate = "G-CORONAV (RT-PCR) -- Tipo de muestra: Exudado Faríngeo/Nasofaríngeo"
    add(exudate, "Positivo", "", "G-CORONAV (RT-PCR)", 1, "101", "b1", "20/03/2020", "09:00")
    add(exudate, "Negativo", "", "G-CORONAV (RT-PCR)", 0, "102", "b2", "21/03/2020", "09:00")
    add(exudate, "27.5", "", "G-CORONAV (RT-PCR)", None, "106", "b3", "03/04/2020", "09:00")
    lavage = "G-CORONAV (RT-PCR) -- Tipo de muestra: LAVADO BRONCOALVEOLAR"
    add(lavage, "Positivo", "", None, None, "106", "b4", "03/04/2020", "09:00")
    add("NA -- SODIO", "139.0", "mmol/L", "NA", 139, "104", "c1", "22/03/2020", "09:30")
    add("NA -- SODIO", "140.0", "mmol/L", "NA", 140, "102", "c2", "22/03/2020", "07:00")
    add("NA -- SODIO", "141.0", "mmol/L", "NA", 141, "102", "c3", "20/03/2020", "21:00")
    with_rows = ["101", "102", "103", "104", "105", "106", "107", "108", "109", "110", "112", "999"]
    with_rows += [str(200 + i) for i in range(SPARE)]
    for i, patient in enumerate(with_rows):
        when = (patient, f"k{i}", "11/04/2020", "07:00")
        potassium = {0: ("4", 4.0), 50: ("Negativo (0.2)", 0.0)}.get(
            i, (f"{3.5 + i / 100:.2f}", round(3.5 + i / 100, 2))
        )
        add("K -- POTASIO", potassium[0], "mmol/L", "K", potassium[1], *when)
        if i >= len(with_rows) - 9:
            add("FER -- FERRITINA", "310.5", "ng/mL", "FER", 310.5, *when)
        if i >= len(with_rows) - 11:
            add("ALB -- ALBUMINA", "3.9", "g/dL", "ALB", 3.9, *when)
    return rows


TRAP_RESULTS = _trap_results()
"""Every text; both styles of dates; codes that change places in English; analysers and padded names of one code;
arterial and venous; codes of other materials; a code in two units; a sample that has an item twice; a stay's rows
before, after and without it; an item of 9 and one of 11 in 100 patients."""
