"""Finding search spaces: shipped ones, one more file, and installed packages."""

import sys
import textwrap

import pytest

import search_spaces
from search_spaces import find_space, known_spaces
from trainables.errors import UsageError

TEMPLATE = """
from search_spaces.space import TransferSpace
from trainables.degradation import Degradation

SPACE = TransferSpace(id="{id}", title="{title}", degradation=Degradation(blur=(0.1, 0.2)))
"""


@pytest.fixture(autouse=True)
def forget():
    """No test sees what another found or imported."""
    before = set(sys.modules)
    known_spaces.cache_clear()
    yield
    known_spaces.cache_clear()
    for name in set(sys.modules) - before:
        if "rayscale_test_" in name:
            del sys.modules[name]
            vars(search_spaces).pop(name.rpartition(".")[2], None)


@pytest.fixture
def add_file(tmp_path, monkeypatch):
    """Adds one more file to the package, as a user with a fifth domain would."""
    monkeypatch.setattr(search_spaces, "__path__", [*search_spaces.__path__, str(tmp_path)])

    def add(name, id_, title="Thermal"):
        (tmp_path / f"rayscale_test_{name}.py").write_text(TEMPLATE.format(id=id_, title=title))

    return add


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package that offers a search space."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(content, target="rayscale_test_plugin:SPACE"):
        (tmp_path / "rayscale_test_plugin.py").write_text(content)
        info = tmp_path / "rayscale_test_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rayscale-test-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            textwrap.dedent(f"""\
            [rayscale.domains]
            thermal = {target}
            """)
        )

    return install


def test_a_versioned_id_and_a_domain_name_find_the_shipped_space():
    assert find_space("satellite") is find_space("satellite-v2")
    assert find_space("satellite").id == "satellite-v2"
    assert known_spaces() is known_spaces()


@pytest.mark.parametrize("wrong", ["satelite", "satellite-v7", "Satellite"])
def test_an_unknown_name_is_answered_with_the_closest_and_all_others(wrong):
    with pytest.raises(
        UsageError, match=r"art-v2, ct-v1, medical-v1, satellite-v2, surveillance-v2.* Did you mean 'satell"
    ):
        find_space(wrong)


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(UsageError, match=r"'qqq'; there are .*surveillance-v2\.$"):
        find_space("qqq")


def test_a_domain_is_one_more_file(add_file):
    add_file("thermal", "thermal-v1")
    assert find_space("thermal").title == "Thermal"
    assert len(known_spaces()) == 6


def test_a_name_finds_the_newest_version_by_number(add_file):
    for version in (2, 10, 9):
        add_file(f"v{version}", f"thermal-v{version}", f"number {version}")
    assert find_space("thermal").title == "number 10"
    assert find_space("thermal-v2").title == "number 2"


def test_a_newer_version_of_a_shipped_domain_takes_over_its_name(add_file):
    add_file("medical", "medical-v2")
    assert find_space("medical").version == 2
    assert find_space("medical-v1").version == 1


def test_an_installed_package_may_offer_a_domain(install):
    install(TEMPLATE.format(id="thermal-v3", title="Installed"))
    assert find_space("thermal").title == "Installed"


def test_a_second_space_with_one_id_is_refused(add_file):
    add_file("again", "art-v2")
    with pytest.raises(UsageError, match=r"SPACE of search_spaces\.rayscale_test_again reuses the id 'art-v2'"):
        known_spaces()


def test_an_installed_space_may_not_take_a_shipped_id(install):
    install(TEMPLATE.format(id="art-v2", title="Other"))
    with pytest.raises(UsageError, match="Entry point thermal = rayscale_test_plugin:SPACE reuses the id 'art-v2'"):
        known_spaces()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("SPACE = 3", "must be a TransferSpace, found int"),
        (TEMPLATE.format(id="thermal-v1", title=" "), "not a usable search space: title must not be empty"),
    ],
)
def test_an_invalid_installed_space_is_refused(install, content, words):
    install(content)
    with pytest.raises(UsageError, match=f"Entry point thermal .*{words}"):
        known_spaces()


def test_a_file_without_a_space_is_refused(add_file, tmp_path):
    (tmp_path / "rayscale_test_empty.py").write_text("OTHER = 1\n")
    with pytest.raises(UsageError, match=r"SPACE of search_spaces\.rayscale_test_empty must be a TransferSpace"):
        find_space("art")
