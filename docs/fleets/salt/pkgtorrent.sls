# Packages from peers, and what this fleet wants installed.
{% set service = pillar.get('pkgtorrent_service', 'http://mirror.example.com:7070') %}
{% set packages = pillar.get('packages', ['vim-enhanced', 'tmux']) %}

plugin:
  pkg.installed:
    - pkgs: [pkgtorrent, python3-dnf-plugin-pkgtorrent]

/etc/dnf/plugins/pkgtorrent.conf:
  file.managed:
    - mode: "0644"
    - contents:
      - '[main]'
      - enabled = 1
      - service = {{ service }}
    - require:
      - pkg: plugin

# One state with all of them is one transaction, and one question to the service.
fleet:
  pkg.installed:
    - pkgs: {{ packages | tojson }}
    - require:
      - file: /etc/dnf/plugins/pkgtorrent.conf
