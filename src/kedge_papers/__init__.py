"""Tables and figures by one command each: ``kedge reproduce TARGET``."""

from __future__ import annotations

from kedge.registry import Registry

TARGETS = Registry(
    "target",
    {
        "hacking": "kedge_papers.targets.hacking:HACKING",
        "table1": "kedge_papers.targets.rocm_tables:TABLE1",
        "table1a": "kedge_papers.targets.rocm_tables:TABLE1A",
        "table1b": "kedge_papers.targets.rocm_tables:TABLE1B",
        "table1c": "kedge_papers.targets.rocm_tables:TABLE1C",
        "table1d": "kedge_papers.targets.rocm_tables:TABLE1D",
        "table4": "kedge_papers.targets.rocm_tables:TABLE4_TARGET",
        "fig2": "kedge_papers.targets.rocm_figures:FIG2",
        "fig3": "kedge_papers.targets.rocm_study:FIG3",
        "fig4": "kedge_papers.targets.rocm_figures:FIG4",
        "fig5": "kedge_papers.targets.rocm_figures:FIG5",
        "fig6": "kedge_papers.targets.rocm_figures:FIG6",
        "rlcm-fig3": "kedge_papers.targets.rlcm_figures:FIG3",
        "rlcm-fig4": "kedge_papers.targets.rlcm_figures:FIG4",
        "rlcm-fig5": "kedge_papers.targets.rlcm_figures:FIG5",
        "rlcm-fig6": "kedge_papers.targets.rlcm_figures:FIG6",
        "rlcm-fig7": "kedge_papers.targets.rlcm_figures:FIG7",
        "rlcm-fig8": "kedge_papers.targets.rlcm_figures:FIG8",
        "demo": "kedge_papers.targets.demo:DEMO",
        "black-box": "kedge_papers.targets.black_box:BLACK_BOX",
        "dimension": "kedge_papers.targets.dimension:DIMENSION",
        "estimators": "kedge_papers.targets.estimators:ESTIMATORS",
        "methods": "kedge_papers.targets.methods:METHODS",
        "tasks": "kedge_papers.targets.tasks:TASKS",
        "tuning": "kedge_papers.targets.tuning:TUNING",
        "divergences": "kedge_papers.targets.regularisers:REGULARISERS_TARGET",
        "alarm": "kedge_papers.targets.alarm_trial:ALARM",
        "js": "kedge_papers.targets.ablations:JS",
        "last-step": "kedge_papers.targets.ablations:LAST_STEP",
    },
    own=False,
)
