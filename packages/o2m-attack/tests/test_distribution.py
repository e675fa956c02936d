from importlib.metadata import version

import auscult.o2m_attack


def test_version_is_the_distribution_s():
    assert auscult.o2m_attack.__version__ == version("o2m-attack")
