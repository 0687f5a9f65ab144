"""Names of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from kedge.models import resolve_model
from kedge.registry import UnknownNameError


def test_a_folder_is_itself(micro_lcm: Path) -> None:
    assert resolve_model(micro_lcm) == resolve_model(str(micro_lcm)) == micro_lcm


def test_a_hub_id_is_passed_on() -> None:
    assert resolve_model("SimianLuo/LCM_Dreamshaper_v7") == "SimianLuo/LCM_Dreamshaper_v7"


def test_a_slip_in_a_bundled_name_is_noticed() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'emoji-lcm'"):
        resolve_model("emoji-lmc")


@pytest.mark.parametrize("name", ["./nothing", "/no/such", "~/nothing", "a/b/c", "name/", ""])
def test_paths_that_do_not_exist_are_not_taken_for_hub_ids(name: str) -> None:
    with pytest.raises(UnknownNameError):
        resolve_model(name)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no model_index\.json"):
        resolve_model(tmp_path)
