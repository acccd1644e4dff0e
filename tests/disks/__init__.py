"""Faults of disks and of the kernel: full disks, quotas, failed calls, power cuts."""
