"""The GPU worker: takes jobs from `gpu-jobs`, computes them in a child process, delivers their results."""
