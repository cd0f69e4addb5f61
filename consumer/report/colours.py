"""Colours and shapes of segments, the same in pictures and on pages."""

from __future__ import annotations

# Okabe and Ito, "Color Universal Design" (2008), without yellow and black, which one of two
# backgrounds would swallow. Shapes change with the colours, so that neither has to be told alone.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
GREY, PALE = "#8a8a8a", "#e4e4e4"
