"""Tables and figures by one command each: ``kedge reproduce TARGET``."""

from __future__ import annotations

from kedge.registry import Registry

TARGETS = Registry(
    "target",
    {
        "hacking": "kedge.reproduce.hacking:HACKING",
        "table1": "kedge.reproduce.rocm_tables:TABLE1",
        "table1a": "kedge.reproduce.rocm_tables:TABLE1A",
        "table1b": "kedge.reproduce.rocm_tables:TABLE1B",
        "table1c": "kedge.reproduce.rocm_tables:TABLE1C",
        "table1d": "kedge.reproduce.rocm_tables:TABLE1D",
        "table4": "kedge.reproduce.rocm_tables:TABLE4_TARGET",
        "fig2": "kedge.reproduce.rocm_figures:FIG2",
        "fig3": "kedge.reproduce.rocm_study:FIG3",
        "fig4": "kedge.reproduce.rocm_figures:FIG4",
        "fig5": "kedge.reproduce.rocm_figures:FIG5",
        "fig6": "kedge.reproduce.rocm_figures:FIG6",
        "rlcm-fig3": "kedge.reproduce.rlcm_figures:FIG3",
        "rlcm-fig4": "kedge.reproduce.rlcm_figures:FIG4",
        "rlcm-fig5": "kedge.reproduce.rlcm_figures:FIG5",
        "rlcm-fig6": "kedge.reproduce.rlcm_figures:FIG6",
        "rlcm-fig7": "kedge.reproduce.rlcm_figures:FIG7",
        "rlcm-fig8": "kedge.reproduce.rlcm_figures:FIG8",
        "methods": "kedge.reproduce.methods:METHODS",
        "tasks": "kedge.reproduce.tasks:TASKS",
        "tuning": "kedge.reproduce.tuning:TUNING",
        "js": "kedge.reproduce.ablations:JS",
        "last-step": "kedge.reproduce.ablations:LAST_STEP",
    },
)
