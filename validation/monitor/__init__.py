"""Monitor: the refined coordinate check of any torch module.

``RefinedCheck`` is all that a user needs. The modules are its parts: primitives and operators (what a torch function
does with a parameter), trace (which calls a forward pass makes) and tape (what is remembered of them), replay (initial
values and sizes), isolation (training does not notice), reading (sizes by site and quantity).
"""

from validation.monitor.check import RefinedCheck
from validation.monitor.reading import Reading

__all__ = ["Reading", "RefinedCheck"]
