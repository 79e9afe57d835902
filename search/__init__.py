"""Who tries what, when, where: the plan, the command line, Optuna, Ray, MLflow, resume.

From Python: ``search.run(search.Plan(spaces=("tiny-image",), dataset="digits", trials=20))``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.plan.plan import Plan, make_plan, read_plan
    from search.driver.runner import resume, run

__all__ = ["Plan", "make_plan", "read_plan", "resume", "run"]


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: ``visiontune --help`` needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'search' has no attribute {name!r}")
    import importlib

    return getattr(
        importlib.import_module(
            "search.driver.runner" if name in ("run", "resume") else "analysis.plan.plan"
        ),
        name,
    )
