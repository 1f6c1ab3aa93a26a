"""Downloads a torrent with libtorrent and shares it until ended. Arguments: torrent, directory, address:port, and
`super-seeding` for a seed that gives each piece out once.

Prints `ready` when it begins, and `complete` once everything is on disk. No peers but those that the torrent's trackers name.
"""

import sys

import libtorrent

torrent, directory, listen = sys.argv[1:4]
session = libtorrent.session(
    {
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        # It would make way for every other flow, and nothing else is on these lines.
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "alert_mask": libtorrent.alert.category_t.error_notification
        | libtorrent.alert.category_t.storage_notification
        | libtorrent.alert.category_t.status_notification,
    }
)
parameters = libtorrent.add_torrent_params()
parameters.ti = libtorrent.torrent_info(torrent)
parameters.save_path = directory
# The default flags, without the one that waits for a queue.
parameters.flags &= ~libtorrent.torrent_flags.paused
if "super-seeding" in sys.argv[4:]:
    parameters.flags |= libtorrent.torrent_flags.super_seeding
print("ready", flush=True)
handle = session.add_torrent(parameters)

while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        if isinstance(alert, libtorrent.torrent_finished_alert):
            handle.flush_cache()
        # Files are written in the background; after this they can be compared.
        elif isinstance(alert, libtorrent.cache_flushed_alert) and handle.status().is_seeding:
            print("complete", flush=True)
        elif alert.category() & libtorrent.alert.category_t.error_notification:
            print(type(alert).__name__, alert.message(), file=sys.stderr, flush=True)
