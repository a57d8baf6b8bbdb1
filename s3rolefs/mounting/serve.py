"""Serve one mount: the process that `mounting.launch` starts.

`Server._prepare` is where the rooms meet; the rest is about beginning and ending well. The order
of the end: take the name away (lazily while files are open), send what is unsent while open files
can still be closed, stop answering, keep what could not be sent.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import sdnotify
import trio

from s3rolefs.cache.blockfiles import block_files
from s3rolefs.cache.recordfile import record_path
from s3rolefs.clock import SystemClock
from s3rolefs.errors import MountFailure, SystemFailure
from s3rolefs.fs.filesystem import FileSystem
from s3rolefs.fuse import kernel, session
from s3rolefs.fuse.operations import Operations
from s3rolefs.mounting import control, mounttable
from s3rolefs.mounting.access import build_accesses
from s3rolefs.mounting.buckets import identity, joined, open_buckets, origins
from s3rolefs.mounting.environment import proxies_of
from s3rolefs.mounting.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable

    from s3rolefs.clock import Clock
    from s3rolefs.fs.unsent import Unsent
    from s3rolefs.model import FirstPage
    from s3rolefs.mounting.access import Access
    from s3rolefs.mounting.handover import Handover
    from s3rolefs.s3.client import S3Client

_log = logging.getLogger("s3rolefs.mount")

# Exit status for unsent data that was kept, and for a mount that broke.
_FAILED_STATUS = 2
# Once the mount is gone, requests that are still being answered get this long.
_LAST_REQUESTS_SECONDS = 10.0
# sudo, timeout and terminals may deliver one wish twice; a later one means: now.
_SECOND_WISH_SECONDS = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Server:
    """Serve one mount from its first request to its last."""

    def __init__(
        self, handover: Handover, report_ready: Callable[[], None], *, clock: Clock | None = None
    ) -> None:
        self._config = handover.config
        self._clock = clock or SystemClock()
        # botocore looks for proxies nowhere else; /proc shows only what a process began with.
        os.environ.update(proxies_of(handover.secrets))
        self._environment = {**os.environ, **handover.secrets}
        self._report_ready = report_ready
        self._notifier = sdnotify.SystemdNotifier()
        self._stage = "starting"
        self._accesses: tuple[Access, ...] = ()
        self._stop_wanted = trio.Event()
        self._drain_scope = trio.CancelScope()
        self._drain_by: float | None = None
        self._device = ""
        self._status = 0

    async def run(self) -> int:
        """Mount, serve until unmounted or stopped, and return the exit status.

        Raises `UserError` when the mount cannot be made.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._watch_signals)
            await self._live()
            nursery.cancel_scope.cancel()
        return self._status

    async def _live(self) -> None:
        async with trio.open_nursery() as services:
            filesystem, views = await self._become_able(services)
            try:
                self._mount(filesystem)
                try:
                    await self._serve_session(services, filesystem, views)
                finally:
                    session.close_session()
                    self._remove_aborted()
                await self._end(filesystem)
            finally:
                filesystem.close()
            services.cancel_scope.cancel()

    def _mount(self, filesystem: FileSystem) -> None:
        self._stage = "mounting"
        config = self._config
        try:
            session.open_session(
                Operations(filesystem),
                config.mountpoint,
                source=config.source,
                flags=config.fuse_options,
            )
        except kernel.NotMountedError as error:
            raise MountFailure(f"{config.mountpoint} could not be mounted on: {error}.") from None

    def _remove_aborted(self) -> None:
        """Unmount what libfuse leaves behind when its connection was cut (fusectl's abort)."""
        mount = mounttable.mount_at(self._config.mountpoint)
        if mount is not None and mount.device == self._device:
            with contextlib.suppress(kernel.MountBusyError, kernel.NotMountedError):
                kernel.unmount_blocking(self._config.mountpoint, lazy=True)

    # Beginning ---------------------------------------------------------------------------------

    async def _become_able(self, services: trio.Nursery) -> tuple[FileSystem, Views]:
        """Return a file system that has reached its bucket with its role, within mount_wait."""
        limit_seconds = self._config.mount_wait_seconds
        prepared: tuple[FileSystem, Views] | None = None
        with trio.move_on_after(limit_seconds) as limit:
            async with trio.open_nursery() as attempt:
                attempt.start_soon(self._give_up_when_stopped, attempt.cancel_scope)
                prepared = await self._prepare(services)
                attempt.cancel_scope.cancel()
        if prepared is not None:
            return prepared
        if limit.cancelled_caught:
            raise MountFailure(
                f"{self._config.source} could not be mounted within {limit_seconds:g} s "
                f"(mount_wait) while {self._stage}{self._trouble()}"
            )
        raise MountFailure(f"{self._config.source} was not mounted: it was stopped while {self._stage}.")

    def _trouble(self) -> str:
        """End a sentence about waiting: whose session is still missing, and what was the matter."""
        for access in self._accesses:
            if access.broker is not None and not access.broker.generation:
                why = access.broker.record.last_error.rstrip(".")
                return f" from {access.broker.source.describe()}{f': {why}' if why else ''}."
        return "."

    async def _prepare(self, services: trio.Nursery) -> tuple[FileSystem, Views]:
        config, clock = self._config, self._clock
        self._stage = "asking for a session"
        self._accesses = accesses = build_accesses(config.buckets, self._environment, clock)
        buckets = open_buckets(config.buckets, accesses, self._environment, clock)
        for access in accesses:
            await access.start(services)
        for bucket in buckets:
            services.start_soon(_close_at_the_end, bucket.client)
        async with trio.open_nursery() as nursery:
            for bucket in buckets:
                nursery.start_soon(bucket.wait_for_session, config)
        self._stage = "asking the bucket"
        first_pages: list[FirstPage] = []
        async with trio.open_nursery() as nursery:
            for bucket in buckets:
                nursery.start_soon(bucket.wait_until_usable, config, first_pages)
        store, prefix, directories = joined(buckets)
        whence = await origins(buckets)
        filesystem = FileSystem(
            store,
            prefix=prefix,
            source=config.source,
            files=config.files,
            clock=clock,
            directories=directories,
            records=record_path(config.files.cache_dir, await identity(buckets)),
            blocks=block_files(config.files, whence),
            origins=whence,
            first_pages=first_pages,
        )
        await services.start(filesystem.run)
        return filesystem, Views(config=config, accesses=accesses, buckets=buckets, filesystem=filesystem)

    async def _give_up_when_stopped(self, scope: trio.CancelScope) -> None:
        await self._stop_wanted.wait()
        scope.cancel()

    # Serving -----------------------------------------------------------------------------------

    async def _serve_session(self, services: trio.Nursery, filesystem: FileSystem, views: Views) -> None:
        config = self._config
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_until_unmounted, nursery.cancel_scope)
            # The first request of all: whoever is told "ready" finds a directory that answers.
            await trio.to_thread.run_sync(os.stat, config.mountpoint, abandon_on_cancel=True)
            mount = mounttable.mount_at(config.mountpoint)
            if mount is None:
                raise SystemFailure(f"{config.mountpoint} was unmounted before it was ready.")
            self._device = mount.device
            await services.start(control.serve_control, mount.device, views.handlers())
            if not kernel.widen(mount.device):
                _log.debug("the kernel's read-ahead stays at its default: this user may not raise it")
            self._report_ready()
            self._notify("READY=1", f"STATUS={config.source} is mounted on {config.mountpoint}")
            _log.info("%s is mounted on %s", config.source, config.mountpoint)
            await self._stop_wanted.wait()
            await self._stop(filesystem)
            # What is still being answered now never ends by itself.
            nursery.cancel_scope.cancel()

    async def _serve_until_unmounted(self, scope: trio.CancelScope) -> None:
        try:
            await session.serve()
        except Exception:
            _log.exception("Serving %s failed; this is a bug in s3rolefs", self._config.source)
            self._status = _FAILED_STATUS
        scope.cancel()

    def _notify(self, *lines: str) -> None:
        self._notifier.notify("\n".join(lines))

    # Ending ------------------------------------------------------------------------------------

    async def _watch_signals(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with trio.open_signal_receiver(*_STOP_SIGNALS) as signals:
            task_status.started()
            stopped_at = trio.current_time()
            async for number in signals:
                if not self._stop_wanted.is_set():
                    _log.info("stopping (%s)", signal.Signals(number).name)
                    self._stop_wanted.set()
                    stopped_at = trio.current_time()
                elif trio.current_time() > stopped_at + _SECOND_WISH_SECONDS:
                    _log.info("stopping at once: what is unsent is kept instead of sent")
                    self._drain_by = trio.current_time()
                    self._drain_scope.cancel()

    async def _stop(self, filesystem: FileSystem) -> None:
        """End serving; cancelled as soon as the session is over."""
        self._notify("STOPPING=1", "STATUS=unmounting")
        try:
            await self._unmount(lazy=False)
        except kernel.MountBusyError:
            _log.info("%s is busy: open files are cut off once their data is sent", self._config.mountpoint)
            with contextlib.suppress(kernel.MountBusyError, kernel.NotMountedError):
                await self._unmount(lazy=True)
            await self._collect_writes(filesystem)
            await self._drain(filesystem)
        except kernel.NotMountedError as error:
            _log.warning("%s could not be unmounted: %s", self._config.mountpoint, error)
        session.end()
        await trio.sleep(_LAST_REQUESTS_SECONDS)

    async def _unmount(self, *, lazy: bool) -> None:
        await trio.to_thread.run_sync(partial(kernel.unmount_blocking, self._config.mountpoint, lazy=lazy))

    async def _collect_writes(self, filesystem: FileSystem) -> None:
        """Take what the kernel has gathered for open files, so that it is sent or kept."""
        numbers = filesystem.open_for_writing()
        with trio.move_on_after(self._config.stop_timeout_seconds):
            await trio.to_thread.run_sync(session.collect_writes_blocking, numbers, abandon_on_cancel=True)

    async def _drain(self, filesystem: FileSystem) -> list[Unsent]:
        """Send what is unsent, within stop_timeout of the first call; return what was kept.

        Called twice where open files hold the end up: what was written meanwhile comes second.
        """
        if self._drain_by is None:
            self._drain_by = trio.current_time() + self._config.stop_timeout_seconds
        with trio.CancelScope() as self._drain_scope:
            return await filesystem.drain(max(0.0, self._drain_by - trio.current_time()))
        return await filesystem.drain(0.0)

    async def _end(self, filesystem: FileSystem) -> None:
        """Send or keep what is unsent after the last request, and name what was kept."""
        self._notify("STATUS=sending what is unsent")
        for unsent in await self._drain(filesystem):
            _log.error("%s was not sent (%s); it is kept in %s", unsent.path, unsent.reason, unsent.kept_at)
            self._status = _FAILED_STATUS
        _log.info("%s is unmounted from %s", self._config.source, self._config.mountpoint)


async def _close_at_the_end(client: S3Client) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await client.aclose()
