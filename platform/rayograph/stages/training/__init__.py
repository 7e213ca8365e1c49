"""What the two trainings share: what they learn from, and what they do once a cluster is joined."""
