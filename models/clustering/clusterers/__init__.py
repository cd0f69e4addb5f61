"""River's clusterers behind one protocol, each started on real users so that none collapses.

All wrap River's own estimators: these learn and predict. What is added is said in each module.
River's TextClust is not among them: it works on counts of terms and its clusters are bags of words,
while a segment is a place among profiles, which workers compare with vectors.
"""

from models.clustering.clusterers.base import Clusterer, ClustererError, State, WarmStarted
from models.clustering.clusterers.clustream import CluStream
from models.clustering.clusterers.dbstream import DBSTREAM
from models.clustering.clusterers.denstream import DenStream
from models.clustering.clusterers.kmeans import KMeans
from models.clustering.clusterers.make import ALGORITHMS, PROJECTIONS, make_clusterer
from models.clustering.clusterers.projection import IncrementalPca, Projected, RandomProjection
from models.clustering.clusterers.state import from_json, to_json
from models.clustering.clusterers.streamkmeans import STREAMKMeans

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
