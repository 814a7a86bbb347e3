"""Questions to a cube that one statistic does not answer: edges, exchanges, shares of variance, winners and fronts."""

from pipeline.analysis.best import best_value
from pipeline.analysis.edges import feasibility_edge
from pipeline.analysis.exchange import change_per_step, exchange_rate, iso_lines, worth_of_one_more
from pipeline.analysis.fronts import nondominated
from pipeline.analysis.variance import variance_shares

__all__ = [
    "best_value",
    "change_per_step",
    "exchange_rate",
    "feasibility_edge",
    "iso_lines",
    "nondominated",
    "variance_shares",
    "worth_of_one_more",
]
