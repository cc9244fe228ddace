r"""Many independent tasks, here or on the workers of a Dask cluster.

A cluster is any that `dask.distributed` knows: processes on this machine, or workers elsewhere
that were started with ``dask worker ADDRESS`` and have this package and the same files. A worker
that is lost costs its tasks only: others do them again.
"""

__all__ = ["compute", "connect"]

import contextlib

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from distributed import Client

Key = TypeVar("Key")


@contextlib.contextmanager
def connect(scheduler: str) -> Iterator["Client"]:
    r"""Connects to a cluster.

    Args:
        scheduler: The address of the scheduler, such as `tcp://10.0.0.1:8786`; or "local", for a
            worker process on each core of this machine, which end with the connection.

    Yields:
        The client.

    Raises:
        ImportError: If `dask.distributed` is not installed.
        OSError: If there is no scheduler at that address.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "Work on a cluster needs dask.distributed: pip install 'smile-companion[distributed]'."
        ) from error

    with contextlib.ExitStack() as stack:
        if scheduler == "local":
            scheduler = stack.enter_context(LocalCluster(threads_per_worker=1, processes=True))
        yield stack.enter_context(Client(scheduler, timeout=10))


def compute(
    function: Callable[..., Any],
    tasks: Mapping[Key, tuple[Any, ...]],
    client: "Client | None" = None,
    *,
    lost: Any = None,
) -> Iterator[tuple[Key, Any]]:
    r"""Calls a function with the arguments of each task.

    Args:
        function: The function, at the top of a module, for workers to import it.
        tasks: The arguments of each call, by a key.
        client: The client of a cluster; if `None`, tasks are done here, one after the other.
        lost: The result of a task that one worker after the other has died of, at last while it
            was alone; if `None`, that is an error.

    Yields:
        The key and the result of each task, as they come. Few are under way at a time, so that
        results do not pile up.

    Raises:
        Exception: What the function raises, at the first task that fails; that workers have died
            of a task, at the end.
    """
    if client is None:
        for key, arguments in tasks.items():
            yield key, function(*arguments)
        return

    from distributed import KilledWorker, as_completed

    waiting = iter(tasks.items())
    limit = 2 * max(len(client.scheduler_info(n_workers=-1)["workers"]), 1)
    keys: dict[Any, Key] = {}
    running = as_completed()

    def submit() -> None:
        for key, arguments in waiting:
            # Impure: what was computed before may have been another file
            future = client.submit(function, *arguments, pure=False)
            keys[future] = key
            running.add(future)
            break

    try:
        for _ in range(limit):
            submit()
        suspects = []
        for future in running:
            submit()
            key = keys.pop(future)
            if isinstance(future.exception(), KilledWorker):
                suspects.append(key)  # it, or one that was on the same workers
            else:
                yield key, future.result()
        for key in suspects:
            future = client.submit(function, *tasks[key], pure=False)
            keys[future] = key
            is_lost = lost is not None and isinstance(future.exception(), KilledWorker)
            yield keys.pop(future), lost if is_lost else future.result()
    finally:
        client.cancel(list(keys))
