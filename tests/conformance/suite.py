"""All sections in the order of the contract."""

from __future__ import annotations

from conformance import (
    section_1_command_line,
    section_1_configuration,
    section_2_life_cycle,
    section_2_warmup,
    section_3_examples,
    section_3_model_spec,
    section_3_models,
    section_3_predict,
    section_3_shapes,
    section_4_connections,
    section_4_examples,
    section_4_json,
    section_4_requests,
    section_4_responses,
    section_4_urls,
    section_5_batching,
    section_6_start_up,
)
from conformance.case import Case, Needs

MODULES = (
    section_1_command_line,
    section_1_configuration,
    section_2_life_cycle,
    section_2_warmup,
    section_3_model_spec,
    section_3_predict,
    section_3_shapes,
    section_3_examples,
    section_3_models,
    section_4_urls,
    section_4_json,
    section_4_requests,
    section_4_responses,
    section_4_examples,
    section_4_connections,
    section_5_batching,
    section_6_start_up,
)
SECTIONS = tuple(section for module in MODULES for section in module.SECTIONS)


def cases(sections: tuple[str, ...] = (), needs: frozenset[Needs] = frozenset(Needs)) -> list[Case]:
    """The cases whose section starts with one of `sections` (all, if empty) and that need one of `needs`."""
    return [
        case
        for section in SECTIONS
        for case in section.cases
        if case.needs in needs and (not sections or case.section.startswith(sections))
    ]
