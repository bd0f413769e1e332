"""Names of agents that no checkpoint could hold are refused where the hierarchy is written."""

import pytest

from rllib_biac.learning.hierarchy import Hierarchy


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b", "a" * 300, "ä" * 150, "metadata.json", "a\ud800"])
def test_a_name_that_can_be_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="cannot be saved, for its name becomes a folder's"):
        Hierarchy([["leader"], [name]])
    with pytest.raises(ValueError, match="agents are named by strings"):
        Hierarchy([["leader"], [None]])


def test_names_as_people_write_them():
    assert Hierarchy([["car 1"], ["Åsa", "b.2"]]).agents == ("car 1", "Åsa", "b.2")
