"""Answers questions about packages, one a line, for as long as Chef would: dnf's library with its plugins, but no download."""

import json
import signal
import sys

import dnf
import hawkey


def open_base():
    base = dnf.Base()
    base.conf.read()
    base.conf.installroot = "/"
    base.conf.substitutions.update_from_etc("/")
    base.init_plugins()
    base.pre_configure_plugins()
    base.read_all_repos()
    base.configure_plugins()
    base.fill_sack(load_system_repo="auto")
    return base


def answer(base, question):
    """The best package of this name: its name, version and architecture."""
    found = dnf.subject.Subject(question["provides"]).get_best_query(base.sack, with_provides=True)
    found = found.installed() if question["action"] == "whatinstalled" else found.available()
    native = found.filter(arch=["noarch", hawkey.detect_arch()])
    packages = (native or found).latest(1).run()
    if not packages:
        return "%s nil nil" % question["provides"]
    package = packages[-1]
    return "%s %d:%s-%s %s" % (package.name, package.epoch, package.version, package.release, package.arch)


def main():
    base = None

    def end(_signal, _frame):
        if base is not None:
            base.close()
        sys.exit(0)

    signal.signal(signal.SIGINT, end)
    with open(int(sys.argv[1])) as questions, open(int(sys.argv[2]), "w") as answers:
        for line in questions:
            base = base or open_base()
            print(answer(base, json.loads(line)), file=answers, flush=True)


main()
