"""Validation: train real networks across widths and hold every predicted exponent against the measured slope.

``validation.run.validate`` does all of it; the modules are its steps: cases (what is claimed), realize (program ->
torch module), data, train (the one loop), measure (refined coordinate check), records (append-only results), schedule
(processes), fit (slopes with intervals), verdict, report and figure. Imports torch; tensorprog itself never does.
"""
