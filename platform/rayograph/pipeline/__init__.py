"""From a job file to artifacts: resolving names, checking before work starts, running stage after stage, lineage."""
