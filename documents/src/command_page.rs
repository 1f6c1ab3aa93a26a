//! The page on a program's command line.

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use pkgtorrent_settings::roff;

use crate::DATE;

/// What the command line of `pkgtorrent` does not tell by itself.
pub(crate) const AGENT: &str = r#".SH REQUEST AND EVENTS
The request that
.B pkgtorrent fetch
reads is one JSON object. Fields that it does not know are ignored.
.PP
.nf
{"version": 1, "packages": [{"name": "...", "url": "http://...",
  "digest": "sha256:...", "size": 1234, "dest": "/..."}]}
.fi
.PP
The URL says which service to ask if that is
.BR auto ,
and nothing is downloaded from it. The destination is an absolute path. With
.RB \(dq reserve "\(dq: {" \(dq path "\(dq, " \(dq bytes \(dq}
beside the packages, so many bytes are left free on the file system of that path. Events name a package by its index, counted
from 0. Each is a JSON object on a line of its own:
.TP
\fB{"event": "progress", "index", "done"}\fR
So many bytes are here.
.TP
\fB{"event": "waiting", "index", "reason"}\fR
It is held back on purpose.
.TP
\fB{"event": "placed", "index", "from": {"peers", "origin", "store"}}\fR
It is at its destination, and so many of its bytes came from other hosts, from the service's web seeds, and from what
this host had.
.TP
\fB{"event": "failed", "index", "reason"}\fR
It is left to the package manager.
.TP
\fB{"event": "planned", "index", "from", "complete", "partial"}\fR
With
.BR \-\-dry\-run ,
where it would come from: it is in place
.RB ( destination ),
in the
.BR store ,
in a
.B bundle
that so many hosts have all and so many some of, or
.B unknown
to the service.
.TP
\fB{"event": "done", "placed", "failed", "bytes": {"peers", "origin", "store"}}\fR
The last event.
.SH EXIT STATUS
.TP
.B 0
All is well; for
.BR fetch ,
every package is in place.
.TP
.B 1
There were problems.
.TP
.B 2
The command line, the configuration or the request makes no sense.
.TP
.B 3
.B fetch
left some packages to the package manager.
.SH FILES
.TP
.I /etc/pkgtorrent/agent.toml
The configuration: see
.BR pkgtorrent.conf (5).
.TP
.I /etc/dnf/plugins/pkgtorrent.conf
The plugin's own: see
.BR yum\-torrent.conf (5).
.TP
.I /var/lib/pkgtorrent
The state directory: the store, the agent's socket
.IR agent.sock ,
its process id
.I agent.pid
and its log
.IR agent.log .
It can be deleted while no agent runs.
.SH SIGNALS
At a SIGHUP
.B pkgtorrent agent
reads its configuration again: see
.BR pkgtorrent.conf (5).
.SH ENVIRONMENT
.TP
.BI PKGTORRENT_ KEY
Counts more than the configuration file: see
.BR pkgtorrent.conf (5).
.TP
.B STATE_DIRECTORY
The state directory of
.BR "pkgtorrent agent" ,
as systemd sets it for a unit. The other commands do not look at it: there it belongs to whoever calls them.
.TP
.BR XDG_STATE_HOME ", " HOME
Where users other than root have their state directory.
.TP
.BR http_proxy ", " https_proxy ", " no_proxy
The proxy, unless one is configured.
.TP
.B RUST_LOG
What is logged: error, warn, info (the default), debug.
.SH SEE ALSO
.BR pkgtorrent.conf (5),
.BR dnf\-pkgtorrent (8),
.BR pkgtorrent\-service (8)
"#;

/// What the command line of `pkgtorrent-service` does not tell by itself.
pub(crate) const SERVICE: &str = r#".SH EXIT STATUS
.TP
.B 0
It ended because it was asked to, or all is well.
.TP
.B 1
The service cannot run, or
.B check
found problems.
.TP
.B 2
The command line or the configuration makes no sense.
.SH FILES
.TP
.I /etc/pkgtorrent/service.toml
The configuration: see
.BR pkgtorrent\-service.conf (5).
.TP
.I /var/lib/pkgtorrent\-service
What is remembered between runs. It can be deleted while the service does not run.
.SH SIGNALS
At a SIGHUP the configuration is read again: see
.BR pkgtorrent\-service.conf (5).
SIGTERM and SIGINT end the service, after answers that go on have had five seconds.
.SH ENVIRONMENT
.TP
.BI PKGTORRENT_SERVICE_ KEY
Counts more than the configuration file: see
.BR pkgtorrent\-service.conf (5).
.TP
.B STATE_DIRECTORY
The state directory, as systemd sets it for a unit.
.TP
.BR XDG_STATE_HOME ", " HOME
Where users other than root have their state directory.
.TP
.B RUST_LOG
What is logged to standard error: error, warn, info (the default), debug.
.SH SEE ALSO
.BR pkgtorrent\-service.conf (5),
.BR pkgtorrent (1)
"#;

/// One page for all commands: somebody who looks for one of them does not know yet what they are called.
pub(crate) fn page(command: Command, section: &str, more: &str) -> anyhow::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let commands = commands_below(&command);
    let main = Man::new(command.clone()).section(section).date(DATE);
    let mut page = rendered(|out| main.render_title(out))?;
    page.push_str(&paragraphs(&rendered(|out| main.render_name_section(out))?));
    page.push_str(".SH SYNOPSIS\n");
    let alone = (!command.is_subcommand_required_set())
        .then(|| format!("\\fB{}\\fR [\\fIoptions\\fR]\n", roff(&name(&command))));
    let lines: Vec<String> = alone.into_iter().chain(commands.iter().map(synopsis)).collect();
    page.push_str(&lines.join(".br\n"));
    page.push_str(&paragraphs(&rendered(|out| main.render_description_section(out))?));
    page.push_str(".SH COMMANDS\n");
    for command in &commands {
        page.push_str(&format!(".SS {}\n", roff(&name(command))));
        let man = Man::new(without_globals(command));
        page.push_str(&body(&rendered(|out| man.render_description_section(out))?));
        page.push_str(&body(&rendered(|out| man.render_options_section(out))?));
    }
    page.push_str(&paragraphs(&rendered(|out| main.render_options_section(out))?));
    page.push_str(more);
    Ok(page)
}

/// The commands that can be called, each before those below it.
fn commands_below(command: &Command) -> Vec<Command> {
    let mut found = Vec::new();
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        if !command.is_subcommand_required_set() {
            found.push(command.clone());
        }
        found.extend(commands_below(command));
    }
    found
}

/// How a command is called, with the program's name.
fn name(command: &Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn synopsis(command: &Command) -> String {
    let mut line = format!("\\fB{}\\fR", roff(&name(command)));
    for argument in own_arguments(command) {
        let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = value.map(|names| format!("\\fI{}\\fR", roff(&names.join(" "))));
        let takes_many = argument.get_num_args().is_some_and(|values| values.max_values() > 1);
        let many = if takes_many || matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
        line.push_str(&match (argument.get_long(), value) {
            (Some(long), Some(value)) => format!(" [\\fB\\-\\-{}\\fR {value}]", roff(long)),
            (Some(long), None) => format!(" [\\fB\\-\\-{}\\fR]", roff(long)),
            (None, value) if argument.is_required_set() => format!(" {}{many}", value.unwrap_or_default()),
            (None, value) => format!(" [{}{many}]", value.unwrap_or_default()),
        });
    }
    line.push('\n');
    line
}

/// What a command takes that the program as a whole does not.
fn own_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| {
        let is_standard = matches!(argument.get_id().as_str(), "help" | "version");
        !argument.is_hide_set() && !argument.is_global_set() && !is_standard
    })
}

fn without_globals(command: &Command) -> Command {
    let own: Vec<_> = own_arguments(command).map(Arg::get_id).collect();
    let others = command.get_arguments().filter(|argument| !own.contains(&argument.get_id()));
    let others: Vec<_> = others.map(|argument| argument.get_id().clone()).collect();
    others.iter().fold(command.clone(), |command, id| command.mut_arg(id, |argument| argument.hide(true)))
}

fn rendered(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> anyhow::Result<String> {
    let mut out = Vec::new();
    render(&mut out)?;
    Ok(String::from_utf8(out)?)
}

/// A section's text without its heading, to stand below another.
fn body(section: &str) -> String {
    let is_heading = |line: &&str| line.starts_with(".SH ");
    let lines = section.lines().filter(|line| !is_heading(line)).map(|line| format!("{line}\n"));
    paragraphs(&lines.collect::<String>())
}

/// Empty lines as roff has them, without breaks beside them, and without the definition that each section brings along:
/// the title has it.
fn paragraphs(text: &str) -> String {
    let is_definition = |line: &&str| line.starts_with(".ie \\n(.g .ds Aq") || line.starts_with(".el .ds Aq");
    let lines = text.lines().filter(|line| !is_definition(line));
    let lines = lines.map(|line| if line.is_empty() { ".sp\n".to_owned() } else { format!("{line}\n") });
    lines.collect::<String>().replace(".br\n.sp\n.br\n", ".sp\n")
}
