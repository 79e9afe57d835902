"""Whether this machine and a cluster file are ready, before anything is paid for."""
