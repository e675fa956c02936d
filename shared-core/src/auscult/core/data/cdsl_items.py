"""The laboratory items of CDSL: their codes, and how the texts of their results are read.

An item is written ``CODE -- LABEL``: ``BAS -- Basófilos``, and ``BAS -- SISTEMATICO DE SANGRE`` from another
analyser. The PhysioNet release has English codes and labels instead, in which ``PT`` and ``TP`` change places
and the venous ``PHV`` and ``PO2V`` have become ``PH`` and ``PO2``.

Names and texts: table of the data's owners, theonesp/covidhm-code, ``Physionet/table_translation.ipynb``, and
the notebook of the studies that use the set, yhzhu99/pyehr, ``datasets/preprocess_cdsl.ipynb``.
"""

import math
import re

# Code, code in the PhysioNet release, meaning. The fixed list of the 71 codes behind the 92 columns of published
# studies: it does not depend on the patients that are read.
ITEMS = (
    ("ALB", "ALB", "albumin"),
    ("AMI", "AMY", "amylase"),
    ("AU", "UA", "uric acid"),
    ("BD", "DBIL", "direct bilirubin"),
    ("BT", "TBIL", "total bilirubin"),
    ("CA", "CA", "calcium"),
    ("CK", "CK", "creatine kinase"),
    ("CL", "CL", "chloride"),
    ("CREA", "CREA", "creatinine"),
    ("FA", "ALP", "alkaline phosphatase"),
    ("FER", "FER", "ferritin"),
    ("FOS", "PHOS", "phosphate"),
    ("GGT", "GGT", "gamma-glutamyl transferase"),
    ("GLU", "GLU", "glucose"),
    ("K", "K", "potassium"),
    ("LDH", "LDH", "lactate dehydrogenase"),
    ("MG", "MG", "magnesium"),
    ("NA", "NA", "sodium"),
    ("U", "U", "urea"),
    ("GOT", "AST", "aspartate aminotransferase"),
    ("GPT", "ALT", "alanine aminotransferase"),
    ("PT", "TP", "total protein"),
    ("TP", "PT", "prothrombin time"),
    ("PCR", "CRP", "C-reactive protein"),
    ("PROCAL", "PCT", "procalcitonin"),
    ("TROPO", "TROP", "troponin"),
    ("LAC", "LAC", "lactate"),
    ("DD", "D-DIMER", "D-dimer"),
    ("VSG", "ESR", "erythrocyte sedimentation rate"),
    ("AP", "PTA", "prothrombin activity"),
    ("APTT", "APTT", "activated partial thromboplastin time"),
    ("INR", "INR", "international normalised ratio"),
    ("FIB", "FIB", "fibrinogen"),
    ("LEUC", "WBC", "white blood cells"),
    ("NEU", "NEU", "neutrophils"),
    ("NEU%", "NEU%", "neutrophils (%)"),
    ("LIN", "LYM", "lymphocytes"),
    ("LIN%", "LYM%", "lymphocytes (%)"),
    ("MONO", "MONO", "monocytes"),
    ("MONO%", "MONO%", "monocytes (%)"),
    ("EOS", "EOS", "eosinophils"),
    ("EOS%", "EOS%", "eosinophils (%)"),
    ("BAS", "BASO", "basophils"),
    ("BAS%", "BASO%", "basophils (%)"),
    ("HEM", "RBC", "red blood cells"),
    ("HGB", "HGB", "haemoglobin"),
    ("HCTO", "HCT", "haematocrit"),
    ("VCM", "MCV", "mean corpuscular volume"),
    ("HCM", "MCH", "mean corpuscular haemoglobin"),
    ("CHCM", "MCHC", "mean corpuscular haemoglobin concentration"),
    ("ADW", "RDW", "red cell distribution width"),
    ("PLAQ", "PLT", "platelets"),
    ("VPM", "MPV", "mean platelet volume"),
    ("PH", "PH", "arterial pH"),
    ("PO2", "PO2", "arterial oxygen pressure"),
    ("PCO2", "PCO2", "arterial carbon dioxide pressure"),
    ("HCO3", "HCO3", "arterial bicarbonate"),
    ("TCO2", "TCO2", "arterial total carbon dioxide"),
    ("BE(b)", "BE(b)", "arterial base excess of blood"),
    ("BEecf", "BEecf", "arterial base excess of extracellular fluid"),
    ("SO2C", "SO2", "arterial oxygen saturation, calculated"),
    ("CA++", "Ca++", "ionised calcium"),
    ("PHV", "PH", "venous pH"),
    ("PO2V", "PO2", "venous oxygen pressure"),
    ("PCO2V", "PCO2", "venous carbon dioxide pressure"),
    ("HCO3V", "HCO3", "venous bicarbonate"),
    ("TCO2V", "TCO2", "venous total carbon dioxide"),
    ("BE(b)V", "BE(b)", "venous base excess of blood"),
    ("BEecfV", "BEecf", "venous base excess of extracellular fluid"),
    ("SO2CV", "SO2", "venous oxygen saturation, calculated"),
    ("G-CORONAV (RT-PCR)", "G-CORONAV (RT-PCR)", "SARS-CoV-2 by RT-PCR, exudate"),
)
RT_PCR = "G-CORONAV (RT-PCR)"
CODES = tuple(code for code, _, _ in ITEMS)
_SPANISH = {(english, code.endswith("V")): code for code, english, _ in reversed(ITEMS)}
# English codes that cells of punctures share with those of blood.
_OF_FLUIDS = {"red blood cell count", "white blood cell (leukocytes) count"}

MISSING = ("sin resultado.", "sin resultado", "---", "----", "indeterminado", "no result", "indeterminate")
WORDS = dict.fromkeys(MISSING, math.nan) | {
    "numerosos": 1.5,
    "numerous": 1.5,
    "aislados": 0.5,
    "isolated": 0.5,
    **dict.fromkeys(("se detecta", "se observan", "normal", "positivo", "detected", "observed", "positive"), 1.0),
    **dict.fromkeys(("no se detecta", "no se observan", "negativo", "not detected", "not observed", "negative"), 0.0),
}
_GRADED = re.compile(r"(negativ|positiv|zona l[ií]mite)\w*\s*\((.*)\)")
_NUMBER = re.compile(r"([<>]=?)?\s*([-+]?(?:\d+(?:[.,]\d+)?|[.,]\d+))(?:[^\d.,][^\d]*)?")
_DECIMAL = re.compile(r"[-+]?\d+[.,]\d+")
# Items that the notebook of the studies leaves out before it counts.
_LEFT_OUT = re.compile(
    r"(CFLAG|CORONA|CRIOGLO|EGCOVID|FRO[123]|FRO_COMEN|GRRH|HEML|IFSUERO|OBS_\w+|PCR VIRUS RESPIRATORIOS|PTGOR|"
    r"RESUL_IFT|Resultado|SED[123]|TIPOL|Tecnica|TpMues|VHCBLOT|VIR_TM|LEGIORI|NEUMOORI|VIHAC) -- .*|"
    r"G-CORONAV \(RT-PCR\) -- Tipo de muestra: (ASPIRADO BRONCOALVEOLAR|EXUDADO)"
)


def code_of(item: str, *, english: bool) -> str | None:
    """Return the code of an item, None where it is not one of :data:`ITEMS`.

    Parameters
    ----------
    item
        As written: ``"BT -- BILIRRUBINA TOTAL   "``.
    english
        Whether it is of the PhysioNet release.

    Examples
    --------
    >>> code_of("TP -- TIEMPO DE PROTROMBINA", english=False), code_of("TP -- Total Proteins", english=True)
    ('TP', 'PT')
    """
    code, _, label = (part.strip() for part in item.partition("--"))
    if code == RT_PCR:
        return code if "exud" in label.casefold() else None
    if not english:
        return code if code in CODES else None
    if label.casefold() in _OF_FLUIDS:
        return None
    spanish = _SPANISH.get((code, "venous" in label.casefold())) or _SPANISH.get((code, False))
    return spanish or (code if code in CODES else None)


def result(text: str) -> tuple[float, bool]:
    """Return the number that a result says (NaN: none), and whether it is a bound, as in ``<0.02``.

    Decimal commas and whole numbers count; ``Negativo (0.04)`` is 0, ``Positivo (3.1)`` is 3.1; words of
    :data:`WORDS` have the numbers given there; a unit after the number is passed over. Of any other text it is
    the first number with decimals.

    Examples
    --------
    >>> result("25 mg/dl"), result("<0,02"), result("Negativo (0.04)"), result("Sin resultado")
    ((25.0, False), (0.02, True), (0.0, False), (nan, False))
    """
    words = " ".join(text.split()).casefold()
    if words in WORDS:
        return WORDS[words], False
    if graded := _GRADED.fullmatch(words):
        return (0.0, False) if graded[1] == "negativ" else result(graded[2])
    if number := _NUMBER.fullmatch(words):
        return float(number[2].replace(",", ".")), bool(number[1])
    decimal = _DECIMAL.search(words)
    return (float(decimal[0].replace(",", ".")) if decimal else math.nan), False


def detection(text: str) -> float:
    """Return 1 for a result that says detected or positive, 0 for the contrary, NaN for any other."""
    words = " ".join(text.split()).casefold()
    if words.startswith(("negativ", "no se detecta", "not detected")):
        return 0.0
    return 1.0 if words.startswith(("positiv", "se detecta", "detected")) else math.nan


def result_of_studies(text: str) -> float:
    """Return the number that the notebook of published studies reads, NaN for none.

    ``Negativo (x)`` is -x, and a whole number is nothing: the notebook looks for decimals.

    Examples
    --------
    >>> result_of_studies("Negativo (0.04)"), result_of_studies("140"), result_of_studies("> 12.5")
    (-0.04, nan, 12.5)
    """
    once = _reformat(text)
    twice = _reformat(once) if isinstance(once, str) else once
    try:
        return float(twice)
    except ValueError:
        return math.nan


def left_out_of_studies(item: str) -> bool:
    """Say whether the notebook of published studies drops an item by its name."""
    return _LEFT_OUT.fullmatch(item) is not None


def _reformat(text: str) -> str | float:
    if text in ("Sin resultado.", "Sin resultado", "---", "----", "Indeterminado"):
        return math.nan
    for start, sign in (("Negativo (", "-"), ("Positivo (", ""), ("Zona limite (", "")):
        if text.startswith(start):
            return text.replace(start, sign)[:-1]
    for sign in "><":
        if text.startswith(sign):
            return text.replace(sign + " ", "").replace(sign, "")
    for unit in (" mg/dl", "/µl", " copias/mL"):
        if text.endswith(unit):
            return text.replace(unit, "")
    words = {"Numerosos": 1.5, "Aislados": 0.5}
    words |= dict.fromkeys(("Se detecta", "Se observan", "Normal", "Positivo"), 1.0)
    words |= dict.fromkeys(("No se detecta", "No se observan", "Negativo"), 0.0)
    if text in words:
        return words[text]
    decimal = re.search(r"[-+]?\d+\.\d+", text)
    return decimal[0] if decimal else math.nan
