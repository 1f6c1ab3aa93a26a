# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pkgtorrent_service_global_optspecs
    string join \n root= listen= state= config= h/help V/version
end

function __fish_pkgtorrent_service_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pkgtorrent_service_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pkgtorrent_service_using_subcommand
    set -l cmd (__fish_pkgtorrent_service_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -l root -d 'The directory whose repositories are served [default: as configured, else /srv/mirror]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -l listen -d 'An address to listen on, with a port; can be given several times [default: as configured, else [::]:7070]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -l state -d 'The directory for what is remembered between runs [default: as configured, else /var/lib/pkgtorrent-service for root]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -l config -d 'The configuration file [default: /etc/pkgtorrent/service.toml, if it is there]' -r -F
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -s h -l help -d 'Print help'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -s V -l version -d 'Print version'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -f -a "config" -d 'Shows the settings that count, and where each is from'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -f -a "check" -d 'Looks for what is wrong with the configuration, and starts nothing'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand config" -l root -d 'The directory whose repositories are served [default: as configured, else /srv/mirror]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand config" -l listen -d 'An address to listen on, with a port; can be given several times [default: as configured, else [::]:7070]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand config" -l state -d 'The directory for what is remembered between runs [default: as configured, else /var/lib/pkgtorrent-service for root]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand config" -l config -d 'The configuration file [default: /etc/pkgtorrent/service.toml, if it is there]' -r -F
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand config" -l json -d 'Write JSON'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand check" -l root -d 'The directory whose repositories are served [default: as configured, else /srv/mirror]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand check" -l listen -d 'An address to listen on, with a port; can be given several times [default: as configured, else [::]:7070]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand check" -l state -d 'The directory for what is remembered between runs [default: as configured, else /var/lib/pkgtorrent-service for root]' -r
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand check" -l config -d 'The configuration file [default: /etc/pkgtorrent/service.toml, if it is there]' -r -F
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand check" -l json -d 'Write JSON: a list of problems'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand help; and not __fish_seen_subcommand_from config check help" -f -a "config" -d 'Shows the settings that count, and where each is from'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand help; and not __fish_seen_subcommand_from config check help" -f -a "check" -d 'Looks for what is wrong with the configuration, and starts nothing'
complete -c pkgtorrent-service -n "__fish_pkgtorrent_service_using_subcommand help; and not __fish_seen_subcommand_from config check help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
