"""The stages: plain Python that computes outputs from records, driven by the loop or by a file."""
