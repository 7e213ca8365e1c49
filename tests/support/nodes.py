"""A cluster of several nodes on this machine, as a program that standard input changes: `add CPUS`, `remove`, `drain`.

Its first line is the cluster's address. `remove` ends the newest node as a lost machine does, without a word; `drain`
gives notice that the newest will be taken away, as clouds do of spot machines.
"""

import subprocess
import sys
from pathlib import Path

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
        elif line.startswith("drain"):
            _give_notice(cluster.address, nodes[-1].node_id)
        print("done", flush=True)
    cluster.shutdown()


def _give_notice(address: str, node: str) -> None:
    ray = str(Path(sys.executable).with_name("ray"))
    notice = {
        "address": address,
        "node-id": node,
        "reason": "DRAIN_NODE_REASON_PREEMPTION",
        "reason-message": "spot",
        "deadline-remaining-seconds": "600",
    }
    options = [word for name, value in notice.items() for word in (f"--{name}", value)]
    subprocess.run([ray, "drain-node", *options], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
