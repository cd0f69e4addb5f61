"""For a first look: a real broker on this machine, and the demo."""
