from importlib.metadata import version

import auscult.ehr_prompt


def test_version_is_the_distribution_s():
    assert auscult.ehr_prompt.__version__ == version("ehr-prompt")
