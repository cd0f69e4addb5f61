"""Running a model: texts to vectors on the CPU, and what both devices share."""
