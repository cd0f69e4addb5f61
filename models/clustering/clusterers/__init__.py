"""River's clusterers behind one interface, each started on real users so that none collapses.

All wrap River's own estimators: these learn and predict. What is added is said in each module.
River's TextClust is not among them: it works on counts of terms and its clusters are bags of words,
while a segment is a place among profiles, which workers compare with vectors. Which others were
measured and left out is in docs/clustering.md.
"""
