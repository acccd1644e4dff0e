"""The base of the package: threads, event loops, background tasks, cancellable jobs, forks. No module here knows a store.

| Module | Holds |
| --- | --- |
| `backend` | the event loop in which a call runs, and the effect of Ctrl-C in it |
| `calls` | blocking calls on threads of the native pool |
| `jobs` | long native calls: progress and cancellation |
| `background` | a task that belongs to an object |
| `concurrent` | one function over many items, several calls at a time |
| `chunks` | long sequences in slices, many items in batches |
| `iteration` | the next item of an async iterator |
| `scopes` | task groups and context managers that Ctrl-C cannot leave half open |
| `refqueue` | the queue of tasks that wait for a ref |
| `threads` | threads that Python starts |
| `fork` | open objects in a child of a fork |
| `buffers` | the one shape of buffer that enters a store |
"""
