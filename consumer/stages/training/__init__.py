"""The trainer's stage: from sampled profiles to segment models. Read `stage` first."""
