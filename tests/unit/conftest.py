"""Settings that all unit tests share."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for small tensors, threads on shared cores mostly wait for each other

settings.register_profile("any machine", deadline=None)  # a busy machine is no defect
settings.load_profile("any machine")
