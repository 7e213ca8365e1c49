"""Ray Serve: replicas that draw units of work, the dispatcher that hands them out, the monitor, fair shares."""
