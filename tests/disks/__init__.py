"""What the kernel refuses, loses or runs out of: full disks, quotas, failed calls, power cuts."""
