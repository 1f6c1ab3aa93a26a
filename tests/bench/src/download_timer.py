"""Writes down how long dnf's download takes, with all that other plugins have put around it."""

import functools
import time

import dnf


class DownloadTimer(dnf.Plugin):
    name = "download_timer"

    def config(self):
        self.output = self.read_config(self.base.conf).get("main", "output")

    # The order of plugins is that of a directory; this comes when all of them have wrapped what they wrap.
    def resolved(self):
        self.base.download_packages = functools.partial(self._download, self.base.download_packages)

    def _download(self, original, *args, **kwargs):
        start = time.monotonic()
        result = original(*args, **kwargs)
        with open(self.output, "w") as file:
            file.write("%.6f\n" % (time.monotonic() - start))
        return result
