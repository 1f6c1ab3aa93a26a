# Packages from peers, and what this fleet wants installed.
class pkgtorrent (
  String        $service  = 'http://mirror.example.com:7070',
  Array[String] $packages = ['vim-enhanced', 'tmux'],
) {
  package { ['pkgtorrent', 'python3-dnf-plugin-pkgtorrent']:
    ensure => installed,
  }

  file { '/etc/dnf/plugins/pkgtorrent.conf':
    mode    => '0644',
    content => "[main]\nenabled = 1\nservice = ${service}\n",
    require => Package['python3-dnf-plugin-pkgtorrent'],
  }

  package { $packages:
    ensure  => installed,
    require => File['/etc/dnf/plugins/pkgtorrent.conf'],
  }
}
