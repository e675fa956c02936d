"""The 48 variables of YAIB in MIMIC-III and MIMIC-IV: laboratory values, vital signs and urine.

van de Water et al., "Yet Another ICU Benchmark", ICLR 2024; item ids, units and ranges are those of its source, the
R package ricu, but for an alarm's limit that stood among them. Ids that one of the databases lacks do no harm there;
urine in CareVue has the ids of the MIMIC code repository.
"""

from auscult.core.data.conversions import (
    NUMBER,
    after_slash,
    before_slash,
    celsius,
    fahrenheit,
    percent,
    times,
    unless_unit,
)
from auscult.core.data.feature import Feature
from auscult.core.data.mimic_vitals import DIASTOLIC_ITEMS, MEAN_ITEMS, SYSTOLIC_ITEMS, charts, labs
from auscult.core.data.panel import Bounds, Panel, Source, Variable

_URINE_BAGS = (
    *range(226557, 226562), *range(226563, 226568), 226584, 227510,
    40055, 43175, 40069, 40094, 40715, 40473, 40085, 40057, 40056, 40405, 40428, 40086, 40096, 40651,
)  # fmt: skip


def _lab(
    name: str,
    shown: str,
    unit: str | None,
    bounds: tuple[float | None, float | None],
    *sources: Source | int,
) -> Variable:
    """Return a variable; whole numbers are items of the laboratory, in this unit."""
    items = tuple(source for source in sources if isinstance(source, int))
    given = tuple(source for source in sources if isinstance(source, Source))
    return Variable(Feature(name, shown, unit=unit), given + (labs(items) if items else ()), Bounds(*bounds))


LABS = Panel(
    "labs48",
    (
        _lab("alb", "albumin", "g/dL", (0, 6), 50862, 53085),
        _lab("alp", "alkaline phosphatase", "IU/L", (0, None), 50863, 53086),
        _lab("alt", "alanine aminotransferase", "IU/L", (0, None), 50861),
        _lab("ast", "aspartate aminotransferase", "IU/L", (0, None), 50878),
        _lab("be", "base excess", "mEq/L", (-25, 25), 50802),
        _lab("bicar", "bicarbonate", "mEq/L", (5, 50), 50882),
        _lab("bili", "total bilirubin", "mg/dL", (0, 100), 50885, 53089),
        _lab("bili_dir", "direct bilirubin", "mg/dL", (0, 50), 50883),
        _lab("bnd", "band neutrophils", "%", (0, 100), 51144),
        _lab("bun", "blood urea nitrogen", "mg/dL", (0, 200), 51006),
        _lab("ca", "calcium", "mg/dL", (4, 20), 50893),
        _lab("cai", "ionised calcium", "mmol/L", (0.5, 2), 50808),
        _lab("ck", "creatine kinase", "IU/L", (0, None), 50910),
        _lab("ckmb", "creatine kinase MB", "ng/mL", (0, None), 50911),
        _lab("cl", "chloride", "mEq/L", (80, 130), 50902),
        _lab("crea", "creatinine", "mg/dL", (0, 15), 50912),
        _lab("crp", "C-reactive protein", "mg/L", (0, None), *labs((50889,), unless_unit("mg/dl", NUMBER, times(10)))),
        _lab("dbp", "diastolic blood pressure", "mmHg", (0, 200), *charts(DIASTOLIC_ITEMS, after_slash())),
        _lab("fgn", "fibrinogen", "mg/dL", (0, 1500), 51214),
        _lab(
            "fio2",
            "fraction of inspired oxygen",
            "%",
            (21, 100),
            *charts((3420, 223835), unless_unit("%torr%", percent(), "NULL")),
            *labs((50816,), percent()),
        ),
        _lab("glu", "glucose", "mg/dL", (0, 1000), 50809, 50931),
        _lab("hgb", "haemoglobin", "g/dL", (4, 18), 51222),
        _lab("hr", "heart rate", "/min", (0, 300), *charts((211, 220045))),
        _lab("inr_pt", "prothrombin time as INR", None, (None, None), 51237),
        _lab("k", "potassium", "mEq/L", (0, 10), 50971),
        _lab("lact", "lactate", "mmol/L", (0, 50), 50813),
        _lab("lymph", "lymphocytes", "%", (0, 100), 51244),
        _lab("map", "mean arterial pressure", "mmHg", (0, 250), *charts(MEAN_ITEMS)),
        _lab("mch", "mean corpuscular haemoglobin", "pg", (0, None), 51248),
        _lab("mchc", "mean corpuscular haemoglobin concentration", "%", (20, 50), 51249),
        _lab("mcv", "mean corpuscular volume", "fL", (50, 150), 51250),
        _lab("methb", "methaemoglobin", "%", (0, 100), 50814),
        _lab("mg", "magnesium", "mg/dL", (0.5, 5), 50960),
        _lab("na", "sodium", "mEq/L", (110, 165), 50983),
        _lab("neut", "neutrophils", "%", (0, 100), 51256),
        _lab(
            "o2sat",
            "oxygen saturation",
            "%",
            (50, 100),
            *charts((646, 834, 220277, 220227), percent()),
            *labs((50817,), percent()),
        ),
        _lab("pco2", "carbon dioxide partial pressure", "mmHg", (10, 150), 50818),
        _lab("ph", "pH of blood", None, (6.8, 8), 50820),
        _lab("phos", "phosphate", "mg/dL", (0, 40), 50970),
        _lab("plt", "platelets", "K/uL", (5, 1200), 51265),
        _lab("po2", "oxygen partial pressure", "mmHg", (40, 600), 50821),
        _lab("ptt", "partial thromboplastin time", "s", (0, None), 51275),
        _lab("resp", "respiratory rate", "/min", (0, 120), *charts((618, 619, 220210, 224688, 224689, 224690))),
        _lab("sbp", "systolic blood pressure", "mmHg", (0, 300), *charts(SYSTOLIC_ITEMS, before_slash())),
        _lab(
            "temp",
            "temperature",
            "°C",
            (32, 42),
            *charts((676, 677, 223762), celsius()),
            *charts((678, 679, 223761, 224027), fahrenheit()),
        ),
        _lab("tnt", "troponin T", "ng/mL", (0, None), 51003),
        Variable(
            Feature("urine", "urine output", unit="mL"),
            (Source("outputevents", _URINE_BAGS),),
            Bounds(0, 2000),
            combine="sum",
        ),
        _lab("wbc", "white blood cells", "K/uL", (0, None), 51301),
    ),
)
