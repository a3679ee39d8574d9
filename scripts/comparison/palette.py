"""Colours of the plots: Okabe and Ito's, which the colour-blind tell apart ("Color universal design", 2008).

A test simulates the three kinds of colour blindness and measures the distances.
"""

from __future__ import annotations

BLACK = "#000000"
ORANGE = "#e69f00"
SKY = "#56b4e9"
GREEN = "#009e73"
YELLOW = "#f0e442"
BLUE = "#0072b2"
VERMILION = "#d55e00"
PURPLE = "#cc79a7"
GREY = "#999999"
LIGHT = "#dddddd"       # of what matters least

ALL = (BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
