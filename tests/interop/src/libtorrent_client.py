"""Downloads a torrent with libtorrent and seeds it until ended. Arguments: torrent, directory, port.

Prints `complete` once everything is on disk. No peers but those that the torrent's trackers and web seeds name.
"""

import sys
import time

import libtorrent

torrent, directory, port = sys.argv[1:]
session = libtorrent.session(
    {
        "listen_interfaces": f"127.0.0.1:{port}",
        "outgoing_interfaces": "127.0.0.1",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        # Every client of these tests has the same address.
        "allow_multiple_connections_per_ip": True,
        "alert_mask": libtorrent.alert.category_t.error_notification
        | libtorrent.alert.category_t.tracker_notification
        | libtorrent.alert.category_t.storage_notification
        | libtorrent.alert.category_t.status_notification,
    }
)
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = directory
# The default flags, without the one that waits for a queue.
parameters.flags &= ~libtorrent.torrent_flags.paused
handle = session.add_torrent(parameters)

complete = False
while True:
    session.wait_for_alert(200)
    for alert in session.pop_alerts():
        print(type(alert).__name__, alert.message(), flush=True)
        # Files are written in the background; after this they can be compared.
        if isinstance(alert, libtorrent.cache_flushed_alert) and not complete:
            complete = True
            print("complete", flush=True)
    if not complete and handle.status().is_seeding:
        handle.flush_cache()
        time.sleep(0.1)
