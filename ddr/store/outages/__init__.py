"""What does not work, or will not: operators' notices, what the workers find, and what has been."""
