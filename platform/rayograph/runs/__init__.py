"""What a run leaves behind: artifacts and their commit, the random draws, the record of what happened."""
