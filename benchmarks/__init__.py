"""Speed and memory of squat against the stacks and floors that a user would compare it with: `squat bench`."""
