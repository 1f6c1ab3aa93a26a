# Packages from peers, and what this fleet wants installed.
dnf_package %w(pkgtorrent python3-dnf-plugin-pkgtorrent)

file '/etc/dnf/plugins/pkgtorrent.conf' do
  mode '0644'
  content "[main]\nenabled = 1\nservice = #{node['pkgtorrent']['service']}\n"
end

# One resource with all of them is one transaction, and one question to the service.
dnf_package node['pkgtorrent']['packages']
