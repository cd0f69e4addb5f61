"""Faults from outside the processes under test: cut and slow networks, full disks.

All of it happens in a lab: a network namespace and a mount namespace of their own, which vanish
with the last process in them. The machine's own network and disks are never touched.
"""
