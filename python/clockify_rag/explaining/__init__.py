"""Why: how a question passed each stage, what each limit cut, and where a page was lost.

An explanation is what happened and no second account of it: the question is searched as ever, and then again with one limit
or one step taken away, by the same code. What differs between two rankings is what that step did, so the explanation of a step
cannot drift from the step. Everything is of one generation, whatever is published meanwhile.
"""

from clockify_rag.explaining.absence import Remedy, Standing, WhyNot, why_not
from clockify_rag.explaining.presence import Cut, ExplainedHit, Explanation, Fusion, explain

__all__ = ["Cut", "ExplainedHit", "Explanation", "Fusion", "Remedy", "Standing", "WhyNot", "explain", "why_not"]
