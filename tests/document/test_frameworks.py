"""Framework ids against what the frameworks publish: counts per function, and ids that the field uses."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from charter.document.frameworks import Framework, atlas_techniques, check_id, rmf_subcategories


def test_rmf_has_the_published_number_of_subcategories() -> None:
    # NIST AI 100-1, tables 1 to 4.
    counts = Counter(name.split()[0] for name in rmf_subcategories())
    assert counts == {"GOVERN": 19, "MAP": 18, "MEASURE": 22, "MANAGE": 13}
    assert len(set(rmf_subcategories())) == 72


def test_atlas_ids_are_well_formed_and_every_sub_technique_has_its_parent() -> None:
    for id, name in atlas_techniques().items():
        assert re.fullmatch(r"AML\.T\d{4}(\.\d{3})?", id)
        assert name.strip()
        assert id[:9] in atlas_techniques()
    # Names as MITRE publishes them.
    assert atlas_techniques()["AML.T0051"] == "LLM Prompt Injection"
    assert atlas_techniques()["AML.T0054"] == "LLM Jailbreak"
    assert atlas_techniques()["AML.T0057"] == "LLM Data Leakage"


RIGHT: list[tuple[Framework, str]] = [
    ("atlas", "AML.T0051.001"),
    ("atlas", "AML.T0061"),
    ("nist_ai_rmf", "GOVERN 1.4"),
    ("nist_ai_rmf", "MAP 5.1"),
    ("nist_ai_rmf", "MEASURE 2.13"),
    ("nist_ai_rmf", "MANAGE 4.3"),
    ("nist_ai_600_1", "MS-2.7-008"),
    ("nist_ai_600_1", "MG-4.3-003"),
    ("eu_ai_act", "1"),
    ("eu_ai_act", "113"),
]
WRONG: list[tuple[Framework, str]] = [
    ("atlas", "AML.TA0002"),
    ("atlas", "T1059"),
    ("atlas", "aml.t0054"),
    ("nist_ai_rmf", "GOVERN 1.8"),
    ("nist_ai_rmf", "MEASURE 2.14"),
    ("nist_ai_rmf", "MEASURE-2.6"),
    ("nist_ai_600_1", "MS-2.14-001"),
    ("nist_ai_600_1", "MX-2.7-008"),
    ("nist_ai_600_1", "MS-2.7-000"),
    ("nist_ai_600_1", "MS-2.7-8"),
    ("eu_ai_act", "0"),
    ("eu_ai_act", "114"),
    ("eu_ai_act", "015"),
    ("eu_ai_act", "15a"),
    ("eu_ai_act", "١٥"),
    ("eu_ai_act", ""),
]


@pytest.mark.parametrize(("framework", "id"), RIGHT)
def test_right(framework: Framework, id: str) -> None:
    assert check_id(framework, id) == id


@pytest.mark.parametrize(("framework", "id"), WRONG)
def test_wrong(framework: Framework, id: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f'"{id}"')):
        check_id(framework, id)


@pytest.mark.parametrize(
    ("framework", "id", "right"),
    [
        ("atlas", "aml.t0054", "AML.T0054"),
        ("nist_ai_rmf", "MEASURE-2.6", "MEASURE 2.6"),
        ("nist_ai_600_1", "MEASURE 2.7-8", "MS-2.7-008"),
        ("eu_ai_act", "Art. 15", "15"),
    ],
)
def test_hint(framework: Framework, id: str, right: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f'Did you mean "{right}"?')):
        check_id(framework, id)
