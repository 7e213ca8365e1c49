"""A cluster of several nodes on this machine, as a program: `add CPUS` and `remove` on standard input change it.

Its first line is the cluster's address. `remove` ends the newest node as a lost machine does, without a word.
"""

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    """Until standard input ends."""
    cpus = int(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
    print(cluster.address, flush=True)
    nodes = []
    for line in sys.stdin:
        if line.startswith("add"):
            nodes.append(cluster.add_node(num_cpus=int(line.split()[1]), include_dashboard=False))
        elif line.startswith("remove"):
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
