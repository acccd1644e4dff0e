"""The workloads, a file each: `async def run(work)` uses the store and reports each call that it acknowledged.

A new file here is a new workload. `work.position()` before a call and `work.acknowledged(begun, ...)` after it report the call;
the second argument and those after it say what the call changed. Calls that change the same key must follow each other.
"""
