"""Lets `pkgtorrent fetch` put a transaction's packages into dnf's cache just before dnf would download them.

dnf 4 has no hook between the user's yes and the download, so `Base.download_packages` is wrapped on the instance. All
that is asked for, placed and shared is `fetch`'s business; here is only the handing over. Whatever goes wrong in it,
dnf's own function is called once, as if this plugin were not there: it checks what it finds and downloads the rest.
"""

import functools
import hashlib
import json
import logging
import os
import selectors
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import time

import dnf
import dnf.callback
import dnf.drpm
import dnf.util
from dnf.cli.format import format_number
from dnf.i18n import _

logger = logging.getLogger("dnf.plugin.pkgtorrent")

ALGORITHMS = ("sha1", "sha224", "sha256", "sha384", "sha512")
EVENT_LEN_MAX = 64 << 10  # The longest event has a reason or an error in it, which is one line of text.
OUTPUT_LEN_MAX = 64 << 20  # A million events, more than any transaction has: the helper has run wild.
END_GRACE = 1  # Seconds for the helper to end by itself, and again after it was asked to.
RPMDB_LEN = 4 << 20  # What rpm's database takes before there is anything in it, with its journal.
RPMDB_LEN_PER_PACKAGE = 64 << 10  # A header of some hundred files, in the database and in its journal.
OFFER_LIMIT = 2  # Seconds that sharing what dnf downloaded may take: dnf's user is waiting.
OFFER_FILES_MAX = 1000  # Far below what a command line can hold.


class PkgTorrent(dnf.Plugin):
    name = "pkgtorrent"
    offers = ()

    def config(self):
        try:
            self._read_options()
        except Exception as error:
            logger.warning(_("pkgtorrent: not used, its configuration is wrong: %s"), error)
            return
        if self.service and self.command:
            self.base.download_packages = functools.partial(self._download, self.base.download_packages)

    def _read_options(self):
        parser = self.read_config(self.base.conf)

        def option(name, default):
            return parser.get("main", name).strip() if parser.has_option("main", name) else default

        self.service = option("service", "")
        self.command = shlex.split(option("command", "/usr/bin/pkgtorrent"))
        self.timeout = float(option("timeout", "30"))
        if not 1 <= self.timeout <= 86400:
            raise ValueError("timeout = %s is not between a second and a day" % self.timeout)
        self.entitled_repos = option("entitled_repos", "").replace(",", " ").split()

    def _download(self, original, pkglist, progress=None, callback_total=None):
        pkglist = list(pkglist)
        packages, fetch = [], None
        try:
            # With -C dnf wants what is in its cache already, and checks that by itself.
            if not self.base.conf.cacheonly:
                packages = [_Package(pkg) for pkg in pkglist if _is_remote(pkg)]
                fetch = self._fetch(packages, progress or dnf.callback.NullDownloadProgress())
        except Exception:
            logger.debug("pkgtorrent: fetching failed", exc_info=True)
        for package in packages:
            package.remove_planted()
        if fetch and fetch.placed and progress is not None:
            progress = _ProgressOfTheRest(progress, fetch.placed)
        result = original(pkglist, progress, callback_total)
        if fetch and fetch.finished:
            self.offers = [package.dest for package in fetch.packages if package.dest not in fetch.placed]
        if self._is_only_download():
            self._offer()
        return result

    def transaction(self):
        # Not before: the store's copies would take the room that the transaction needs.
        self._offer()

    def _is_only_download(self):
        return self.base.conf.downloadonly or self.base.conf.destdir

    def _fetch(self, packages, progress):
        installed = self.base.sack.query().installed()
        deltas = dnf.drpm.DeltaInfo(installed, progress, self.base.conf.deltarpm_percentage)
        wanted = {package.dest: package for package in packages if self._may_be_fetched(package, deltas)}
        if not wanted:
            return None
        for directory in {os.path.dirname(dest) for dest in wanted}:
            dnf.util.ensure_dir(directory)  # As dnf itself does when it comes to the download.
        fetch = _Fetch(list(wanted.values()), progress)
        request = {"version": 1, "packages": [package.request() for package in fetch.packages]}
        if not self._is_only_download():
            size = sum(package.pkg.installsize for package in packages) * 105 // 100  # As rpm itself reckons.
            size += RPMDB_LEN + RPMDB_LEN_PER_PACKAGE * len(packages)
            request["reserve"] = {"path": self.base.conf.installroot, "bytes": size}
        command = self.command + ["fetch", "--service", self.service]
        try:
            fetch.run(command, json.dumps(request).encode(), self.timeout)
        except Exception as error:
            logger.debug("pkgtorrent: the helper failed", exc_info=True)
            fetch.reason = str(error)
        fetch.report()
        return fetch

    def _may_be_fetched(self, package, deltas):
        if package.is_entitled() and package.pkg.repo.id not in self.entitled_repos:
            return False
        if not package.may_be_planted() and package.verifies():
            return False
        return deltas.delta_factory(package.pkg, None) is None

    def _offer(self):
        """Gives what dnf has downloaded and checked to the agent, for others to have it from there."""
        try:
            files = [path for path in self.offers if os.path.isfile(path)][:OFFER_FILES_MAX]
            self.offers = ()
            if files:
                command = self.command + ["store", "add", "--quiet"] + files
                quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                helper = subprocess.Popen(command, **quiet)
                _end(helper, OFFER_LIMIT)
        except Exception:
            logger.debug("pkgtorrent: sharing what dnf downloaded failed", exc_info=True)


class _Package(dnf.callback.Payload):
    """A package that dnf is about to download, as `fetch` is asked for it and as dnf's progress bar shows it."""

    def __init__(self, pkg):
        super().__init__(None)
        self.pkg = pkg
        self.algorithm, self.digest = pkg.returnIdSum()
        self.size = pkg.downloadsize
        self.dest = os.path.abspath(pkg.localPkg())
        self.done = None
        self.over = False
        # `remote_location` is wrong for packages whose metadata names another base (xml:base).
        bases = [pkg.baseurl] if pkg.baseurl else list(pkg.repo._repo.getMirrors()) or list(pkg.repo.baseurl)
        whole = "://" in pkg.location or not bases
        self.url = pkg.location if whole else bases[0].rstrip("/") + "/" + pkg.location.lstrip("/")

    def __str__(self):
        return os.path.basename(self.pkg.location)

    @property
    def download_size(self):
        return self.size

    def is_entitled(self):
        """Whether the repository gives its packages only to those who say who they are."""
        repo = self.pkg.repo
        user_in_url = "@" in self.url.partition("://")[2].partition("/")[0]
        return repo.sslclientcert or repo.sslclientkey or repo.username or repo.get_http_headers() or user_in_url

    def request(self):
        digest = "%s:%s" % (self.algorithm, self.digest)
        return {"name": str(self.pkg), "url": self.url, "digest": digest, "size": self.size, "dest": self.dest}

    def verifies(self):
        """Whether the destination's bytes are the package. librepo would believe what attributes say about them."""
        try:
            # Whatever a pipe in the file's place would do, it is not waited for.
            with open(os.open(self.dest, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size != self.size:
                    return False
                digest = hashlib.new(self.algorithm)
                for chunk in iter(lambda: file.read(1 << 20), b""):
                    digest.update(chunk)
        except OSError:
            return False
        return digest.hexdigest() == self.digest

    def may_be_planted(self):
        """Whether another user may have made the destination what it is, or a file elsewhere would change with it."""
        try:
            status = os.lstat(self.dest)
        except OSError:
            return False
        others_may_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        owner_is_other = status.st_uid not in (0, os.geteuid())
        return not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or owner_is_other or bool(others_may_write)

    def remove_planted(self):
        """Removes what dnf must not find: librepo believes a stranger's attributes, and writes through links."""
        try:
            if self.may_be_planted() and not self.verifies():
                os.unlink(self.dest)
        except Exception as error:
            logger.debug("pkgtorrent: %s stays: %s", self.dest, error)


class _Fetch:
    """One run of `pkgtorrent fetch`. Of what it says only that is believed which can be true."""

    def __init__(self, packages, progress):
        self.packages = packages
        self.progress = progress
        self.placed = {}
        self.bytes = {"peers": 0, "origin": 0, "store": 0}
        self.finished = False
        self.reason = None

    def run(self, command, request, timeout):
        self.progress.start(len(self.packages), sum(package.size for package in self.packages))
        # Not a pipe: dnf lets a broken one's signal end it when its own output is no terminal.
        sender, receiver = socket.socketpair()
        with sender, receiver:
            helper = subprocess.Popen(
                command, bufsize=0, stdin=receiver, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            receiver.close()
            try:
                with selectors.DefaultSelector() as selector:
                    sender.setblocking(False)
                    selector.register(sender, selectors.EVENT_WRITE)
                    selector.register(helper.stdout, selectors.EVENT_READ)
                    self._converse(selector, memoryview(request), timeout)
            finally:
                sender.close()
                helper.stdout.close()
                # Also when the user pressed Ctrl-C: nothing stays behind.
                _end(helper, END_GRACE if self.finished else 0)
                logger.debug("pkgtorrent: exit status %s of %s", helper.returncode, command)

    def _converse(self, selector, request, timeout):
        output, output_len = b"", 0
        deadline = time.monotonic() + timeout
        while not self.finished:
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise RuntimeError(_("nothing new for %g seconds") % timeout)
            for key, _events in ready:
                if key.events & selectors.EVENT_WRITE:
                    try:
                        request = request[key.fileobj.send(request[: 64 << 10], socket.MSG_NOSIGNAL) :]
                    except ConnectionError:
                        request = request[:0]  # It may have enough; what it says to that counts.
                    if not request:
                        selector.unregister(key.fileobj)
                        key.fileobj.close()
                    continue
                read = os.read(key.fd, 64 << 10)
                output_len += len(read)
                lines = (output + read).split(b"\n")
                output = lines.pop()
                if not read or len(output) > EVENT_LEN_MAX or output_len > OUTPUT_LEN_MAX:
                    raise RuntimeError(_("its answer breaks off") if not read else _("its answer is too long"))
                if any([self._take(line) for line in lines]):
                    deadline = time.monotonic() + timeout

    def _take(self, line):
        """Takes an event in. Returns whether it says anything new, which is what the clock starts anew for."""
        try:
            event = json.loads(line.decode())
            kind, index, origins = event["event"], event.get("index"), dict(event.get("from", {}))
        except Exception:
            raise RuntimeError(_("its answer makes no sense"))
        if kind == "done":
            self.finished = True
            return True
        if type(index) is not int or not 0 <= index < len(self.packages) or self.packages[index].over:
            return False
        package = self.packages[index]
        if kind == "progress":
            return self._advance(package, event.get("done"))
        if kind == "placed":
            if not os.path.isfile(package.dest) or os.path.getsize(package.dest) != package.size:
                raise RuntimeError(_("its answer is wrong"))
            package.over = True
            self.placed[package.dest] = package
            for source in self.bytes:
                self.bytes[source] += _count(origins.get(source), 1 << 50)
            self._advance(package, package.size)
            self.progress.end(package, dnf.callback.STATUS_OK, None)
        elif kind == "failed":
            package.over = True
            reason = "".join(c for c in str(event.get("reason"))[:200] if c.isprintable())
            logger.debug("pkgtorrent: %s is left to dnf: %s", package, reason)
            self.reason = self.reason or reason
        return kind in ("placed", "failed", "waiting")

    def _advance(self, package, done):
        if done != _count(done, package.size) or done == package.done:
            return False
        package.done = done
        self.progress.progress(package, done)
        return True

    def report(self):
        begun = [package for package in self.packages if package.done is not None]
        if len(begun) > len(self.placed) and sys.stdout.isatty():
            # A bar that did not reach its end stands in the line where the next text begins.
            self.progress.message("%*s\r" % (shutil.get_terminal_size().columns - 1, ""))
        if not self.placed:
            text = _("pkgtorrent: 0 of %d packages; dnf downloads them: %s")
            logger.info(text, len(self.packages), self.reason or _("no reason given"))
            return
        size = sum(package.size for package in self.placed.values())
        text = _("pkgtorrent: %d of %d packages (%s): %s from peers, %s from the mirror, %s from this host") % (
            len(self.placed),
            len(self.packages),
            _bytes(size),
            _bytes(self.bytes["peers"]),
            _bytes(self.bytes["origin"]),
            _bytes(self.bytes["store"]),
        )
        if len(self.placed) < len(self.packages):
            text += _("; dnf downloads the rest: %s") % (self.reason or _("no reason given"))
        logger.info("%s", text)


class _ProgressOfTheRest(dnf.callback.DownloadProgress):
    """dnf's progress without the packages that had their bars already: no `[SKIPPED] ... Already downloaded`."""

    def __init__(self, progress, placed):
        self._progress = progress
        self._placed = placed
        self._uncounted = list(placed.values())

    # dnf counts this function's arguments to see whether it may name the number of deltas.
    def start(self, total_files, total_size, total_drpms=0):
        deltas = {"total_drpms": total_drpms} if total_drpms else {}
        size = sum(package.size for package in self._uncounted)
        self._progress.start(max(total_files - len(self._uncounted), 0), max(total_size - size, 0), **deltas)
        # What dnf starts a second time are retries, and none of these are among them.
        self._uncounted = []

    def progress(self, payload, done):
        self._progress.progress(payload, done)

    def end(self, payload, status, msg):
        is_placed = os.path.abspath(payload.pkg.localPkg()) in self._placed
        if not is_placed or status != dnf.callback.STATUS_ALREADY_EXISTS:
            self._progress.end(payload, status, msg)

    def message(self, msg):
        self._progress.message(msg)


def _is_remote(pkg):
    if pkg._from_cmdline or pkg._from_system or pkg._is_local_pkg():
        return False
    return pkg.returnIdSum()[0] in ALGORITHMS


def _end(helper, limit):
    """Waits at most so long, then ends the helper: asked first, then by force."""
    for end, seconds in ((None, limit), (helper.terminate, END_GRACE), (helper.kill, END_GRACE)):
        if end:
            end()
        try:
            helper.wait(seconds)
            return
        except subprocess.TimeoutExpired:
            pass


def _count(value, limit):
    return value if type(value) is int and 0 <= value <= limit else 0


def _bytes(number):
    return format_number(number).rstrip() + ("B" if number > 999 else " B")
