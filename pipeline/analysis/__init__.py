"""Questions to a cube that one statistic does not answer: edges, exchanges, shares of variance, winners and fronts."""

from pipeline.analysis.edges import feasibility_edge
from pipeline.analysis.exchange import change_per_step, exchange_rate, iso_lines, worth_of_one_more

__all__ = ["change_per_step", "exchange_rate", "feasibility_edge", "iso_lines", "worth_of_one_more"]
