# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pkgtorrent_global_optspecs
    string join \n config= state-dir= h/help V/version
end

function __fish_pkgtorrent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pkgtorrent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pkgtorrent_using_subcommand
    set -l cmd (__fish_pkgtorrent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -s V -l version -d 'Print version'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "fetch" -d 'Puts a transaction\'s packages where the package manager looks for them'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "agent" -d 'Runs the agent, in the foreground, until it is asked to end or nobody needs it any longer'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "status" -d 'Says what the agent has and does'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "explain" -d 'Explains why an install of this host took as long as it did'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "config" -d 'Shows the settings that count, and where each is from'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "check" -d 'Looks for what is wrong with the configuration, and starts nothing'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "doctor" -d 'Looks for what keeps this host from fetching and sharing, and says what to do about it'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "store" -d 'Puts packages into the agent\'s store, lists or checks them'
complete -c pkgtorrent -n "__fish_pkgtorrent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l service -d 'The service to ask, or `auto` for the hosts of the packages\' own URLs [default: as configured]' -r
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l listen -d 'The address for other hosts of an agent that is started for this [default: [::]:7071]' -r
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l events -d 'How events are written to standard output [default: json; on a terminal there are bars instead]' -r -f -a "json\t'A JSON object a line'
lines\t'An event a line: its name, the package\'s number and what else there is, between tabs'"
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l in-process -d 'Start no agent: download within this command and leave nothing running'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -l dry-run -d 'Fetch and place nothing, start nothing: say of each package where it would come from'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -l listen -d 'The address for other hosts [default: [::]:7071]' -r
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -l detach -d 'Leave the terminal, and say `ready` on standard output once the socket can be asked: how `fetch` starts it'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -f -a "stop" -d 'Ends the agent that runs and waits until it has ended'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and not __fish_seen_subcommand_from stop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and __fish_seen_subcommand_from stop" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and __fish_seen_subcommand_from stop" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "stop" -d 'Ends the agent that runs and waits until it has ended'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand agent; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand status" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand status" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand status" -l json -d 'Write JSON'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand explain" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand explain" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand explain" -l last -d 'The last install, which is the default'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand explain" -l list -d 'List the installs that can be explained, the oldest first'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand explain" -l json -d 'Write JSON; with `--list` an object a line'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand config" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand config" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand config" -l json -d 'Write JSON'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand check" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand check" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand check" -l json -d 'Write JSON: a list of problems'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand doctor" -l service -d 'The service to look at [default: as configured in the package manager\'s plugin, else in the agent\'s file]' -r
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand doctor" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand doctor" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand doctor" -l json -d 'Write JSON: a list of `check`, `state`, `found` and `advice`'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -f -a "add" -d 'Copies package files into the store, so that they are shared'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -f -a "list" -d 'Lists the store\'s packages: digest, size, and when each was last wanted'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -f -a "verify" -d 'Reads every package again and drops those that do not match their digest'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and not __fish_seen_subcommand_from add list verify help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from add" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from add" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from add" -l quiet -d 'Write nothing but errors'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from add" -l json -d 'Write JSON, an object a line: `file`, and either `identity` and `size` or `error`'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from list" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from list" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from list" -l json -d 'Write JSON, an object a line'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from verify" -l config -d 'The configuration file [default: /etc/pkgtorrent/agent.toml, if it is there]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from verify" -l state-dir -d 'The directory that holds all of one agent\'s state: store, socket, log [default: /var/lib/pkgtorrent for root, else pkgtorrent in $XDG_STATE_HOME or in ~/.local/state]' -r -F
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from verify" -l json -d 'Write JSON, an object a line'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "add" -d 'Copies package files into the store, so that they are shared'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "list" -d 'Lists the store\'s packages: digest, size, and when each was last wanted'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Reads every package again and drops those that do not match their digest'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand store; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "fetch" -d 'Puts a transaction\'s packages where the package manager looks for them'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "agent" -d 'Runs the agent, in the foreground, until it is asked to end or nobody needs it any longer'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "status" -d 'Says what the agent has and does'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "explain" -d 'Explains why an install of this host took as long as it did'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "config" -d 'Shows the settings that count, and where each is from'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "check" -d 'Looks for what is wrong with the configuration, and starts nothing'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "doctor" -d 'Looks for what keeps this host from fetching and sharing, and says what to do about it'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "store" -d 'Puts packages into the agent\'s store, lists or checks them'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and not __fish_seen_subcommand_from fetch agent status explain config check doctor store help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and __fish_seen_subcommand_from agent" -f -a "stop" -d 'Ends the agent that runs and waits until it has ended'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and __fish_seen_subcommand_from store" -f -a "add" -d 'Copies package files into the store, so that they are shared'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and __fish_seen_subcommand_from store" -f -a "list" -d 'Lists the store\'s packages: digest, size, and when each was last wanted'
complete -c pkgtorrent -n "__fish_pkgtorrent_using_subcommand help; and __fish_seen_subcommand_from store" -f -a "verify" -d 'Reads every package again and drops those that do not match their digest'
