"""What tests share: makers of images and archives, children, disks, limits, and the guard of the run."""
