from importlib.metadata import version

import auscult.sparse_ehr


def test_version_is_the_distribution_s():
    assert auscult.sparse_ehr.__version__ == version("sparse-ehr")
