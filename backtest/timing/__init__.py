"""Pass 1: when each event is received, served and answered, in virtual time."""
