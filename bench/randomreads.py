"""Read 4 KiB at random places: `randomreads.py FILE COUNT READERS`; the places are the same each time.

Started afresh for each measurement, so it imports little.
"""

import os
import random
import sys
import threading

_BYTES = 4096


def _read(descriptor: int, places: list[int]) -> None:
    for place in places:
        if len(os.pread(descriptor, _BYTES, place * _BYTES)) != _BYTES:
            os._exit(1)


def main() -> None:
    """Share the places out among the readers, and wait for them."""
    path, count, readers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    descriptor = os.open(path, os.O_RDONLY)
    pages = os.fstat(descriptor).st_size // _BYTES
    choice = random.Random(6)
    places = [choice.randrange(pages) for _ in range(count)]
    threads = [
        threading.Thread(target=_read, args=(descriptor, places[first::readers])) for first in range(readers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
