#!/bin/bash
# Makes .venv-peers at the repository root: the benchmarks' peers, whose pins conflict with the project's own.
# Every package is named in constraints.txt, so nothing is resolved: the peers' extras for clouds that no benchmark
# uses stay out, and so do the CUDA packages that torch would pull.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
venv=${1:-$here/../../../.venv-peers}
"${PYTHON:-python3.11}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$here/constraints.txt"
"$venv/bin/python" "$here/cpu_torchvision.py"
