from importlib.metadata import version

import auscult.agfsync


def test_version_is_the_distribution_s():
    assert auscult.agfsync.__version__ == version("agfsync")
