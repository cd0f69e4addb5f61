"""River's clusterers behind one protocol, each started on real users so that none collapses.

All wrap River's own estimators: these learn and predict. What is added is said in each module.
River's TextClust is not among them: it works on counts of terms and its clusters are bags of words,
while a segment is a place among profiles, which workers compare with vectors.
"""

from models.clusterers.base import Clusterer, ClustererError, State, WarmStarted
from models.clusterers.clustream import CluStream
from models.clusterers.dbstream import DBSTREAM
from models.clusterers.denstream import DenStream
from models.clusterers.kmeans import KMeans
from models.clusterers.make import ALGORITHMS, PROJECTIONS, make_clusterer
from models.clusterers.projection import IncrementalPca, Projected, RandomProjection
from models.clusterers.state import from_json, to_json
from models.clusterers.streamkmeans import STREAMKMeans

__all__ = [
    "ALGORITHMS",
    "DBSTREAM",
    "PROJECTIONS",
    "CluStream",
    "Clusterer",
    "ClustererError",
    "DenStream",
    "IncrementalPca",
    "KMeans",
    "Projected",
    "RandomProjection",
    "STREAMKMeans",
    "State",
    "WarmStarted",
    "from_json",
    "make_clusterer",
    "to_json",
]
