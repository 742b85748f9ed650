"""Independent references: readers and engines that share no code with the packages under test."""
