"""The workers' stage: from user events to segment changes. Read `stage` first."""
