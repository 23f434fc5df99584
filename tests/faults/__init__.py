"""Real processes, real servers, real faults; one history checker judges them all."""
