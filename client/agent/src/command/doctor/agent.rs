//! The agent: whether it runs and answers, its version, its port, and whether other hosts reach it.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use pkgtorrent_protocol::socket::{AgentStatus, Answer, Request};

use super::Patient;
use super::finding::Finding;
use crate::control::client::{ConnectError, Connection, LostError};
use crate::peer;
use crate::text::duration;

/// How long connecting to this very host may take.
const CONNECT_LIMIT: Duration = Duration::from_millis(300);

/// Where systemd has what runs, with either version of control groups.
const FIREWALLD: [&str; 2] = [
    "/sys/fs/cgroup/system.slice/firewalld.service",
    "/sys/fs/cgroup/systemd/system.slice/firewalld.service",
];

/// Where firewalld has what an operator changed.
const ZONES: &str = "/etc/firewalld/zones";

const AGENT: &str = "agent";
const PORT: &str = "port";
const PEERS: &str = "peers";
const FIREWALL: &str = "firewall";

pub(super) const CHECKS: &[&str] = &[AGENT, PORT, PEERS, FIREWALL];

struct Facts {
    agent: Found,
    /// Where the settings have it listen.
    listen: SocketAddr,
    /// Whether it answers on its port, or would have the port that the settings name.
    port: io::Result<()>,
    firewall: Firewall,
}

/// What answers on the agent's socket.
enum Found {
    None,
    /// It is there, and does not do what it is asked.
    Refusing(String),
    /// One of another version, which does not get on with this program.
    Other(String),
    Here(Box<AgentStatus>),
}

#[derive(Clone, Copy)]
enum Firewall {
    NotRunning,
    Open,
    Closed,
    NotReadable,
}

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    judge(&gather(patient))
}

fn gather(patient: &Patient) -> Facts {
    let listen = patient.settings.listen;
    let agent = match &patient.state_dir {
        Ok(state_dir) => found(ask(state_dir)),
        Err(_) => Found::None,
    };
    let port = match &agent {
        Found::Here(status) => status.port.map_or(Ok(()), |port| answers(listen.ip(), port)),
        _ => peer::is_free(listen),
    };
    Facts { agent, listen, port, firewall: firewall(listen.port()) }
}

fn ask(state_dir: &Path) -> Result<Box<AgentStatus>, ConnectError> {
    let mut connection = Connection::connect(state_dir)?;
    connection.send(&Request::Status)?;
    loop {
        match connection.next()?.0 {
            Answer::Status(status) => return Ok(status),
            Answer::Refused { reason } => return Err(ConnectError::Refused(reason)),
            _ => {}
        }
    }
}

fn found(asked: Result<Box<AgentStatus>, ConnectError>) -> Found {
    match asked {
        Ok(status) => Found::Here(status),
        Err(ConnectError::NoAgent(_) | ConnectError::Lost(LostError::Gone)) => Found::None,
        Err(error @ ConnectError::OtherVersion { .. }) => Found::Other(error.to_string()),
        Err(error) => Found::Refusing(error.to_string()),
    }
}

/// Whether something listens there, as far as this host sees it.
fn answers(ip: IpAddr, port: u16) -> io::Result<()> {
    let connect = |ip: IpAddr| TcpStream::connect_timeout(&(ip, port).into(), CONNECT_LIMIT).map(drop);
    match ip.is_unspecified() {
        true => connect(Ipv4Addr::LOCALHOST.into()).or_else(|_| connect(Ipv6Addr::LOCALHOST.into())),
        false => connect(ip),
    }
}

fn firewall(port: u16) -> Firewall {
    if !FIREWALLD.iter().any(|unit| Path::new(unit).exists()) {
        return Firewall::NotRunning;
    }
    let texts = fs::read_dir(ZONES)
        .and_then(|zones| zones.map(|zone| fs::read_to_string(zone?.path())).collect::<io::Result<Vec<_>>>());
    match texts {
        Ok(texts) if texts.iter().any(|zone| lets_in(zone, port)) => Firewall::Open,
        Err(error) if error.kind() != ErrorKind::NotFound => Firewall::NotReadable,
        _ => Firewall::Closed,
    }
}

fn lets_in(zone: &str, port: u16) -> bool {
    let service = "service name=\"pkgtorrent\"";
    zone.contains(service) || zone.contains(&format!("port=\"{port}\""))
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let status = match &facts.agent {
        Found::Here(status) => Some(&**status),
        _ => None,
    };
    vec![agent(&facts.agent), port(facts, status), peers(status), firewalled(facts.firewall, status)]
}

fn agent(found: &Found) -> Finding {
    const OURS: &str = env!("CARGO_PKG_VERSION");
    match found {
        Found::None => Finding::ok(AGENT, "none runs now: the next fetch starts one"),
        Found::Refusing(reason) => Finding::problem(
            AGENT,
            reason,
            "call this as root or as the agent's user; `allowed_users` names others that may ask it",
        ),
        Found::Other(reason) => {
            Finding::problem(AGENT, reason, "end it, the next fetch starts another: pkgtorrent agent stop")
        }
        Found::Here(status) if status.program != OURS => Finding::warning(
            AGENT,
            format!("version {} runs, this program is {OURS}", status.program),
            "end it, the next fetch starts another: pkgtorrent agent stop",
        ),
        Found::Here(status) => {
            let AgentStatus { pid, user, uptime, .. } = &**status;
            Finding::ok(AGENT, format!("version {OURS} runs as {user} (pid {pid}) for {}", duration(*uptime)))
        }
    }
}

fn port(facts: &Facts, status: Option<&AgentStatus>) -> Finding {
    let (wanted, free_it) = (facts.listen.port(), "see who has it (ss -ltnp), or set another `listen`");
    if let Found::Refusing(_) | Found::Other(_) = facts.agent {
        return Finding::unknown(PORT, "the agent that runs does not say which it has");
    }
    let Some(status) = status else {
        return match &facts.port {
            Ok(()) => Finding::ok(PORT, format!("{wanted} is free for the agent")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Finding::warning(PORT, format!("{wanted} is taken by another program"), free_it)
            }
            Err(error) => {
                let advice = "set `listen` to an address of this host";
                Finding::warning(PORT, format!("nothing can listen on {}: {error}", facts.listen), advice)
            }
        };
    };
    match (status.port, &facts.port) {
        (None, _) => Finding::warning(
            PORT,
            "the agent could not listen: no other host reaches it",
            "its log says why: see agent.log in its state directory",
        ),
        (Some(port), Err(error)) => Finding::warning(
            PORT,
            format!("the agent has {port}, which does not answer from here: {error}"),
            "see what keeps this host from reaching itself there",
        ),
        (Some(port), Ok(())) if wanted != 0 && port != wanted => Finding::warning(
            PORT,
            format!("the agent has {port}, because {wanted} was taken"),
            format!("{free_it}; then pkgtorrent agent stop"),
        ),
        (Some(port), Ok(())) => Finding::ok(PORT, format!("the agent has {port}, which answers")),
    }
}

fn peers(status: Option<&AgentStatus>) -> Finding {
    let Some(status) = status else {
        return Finding::unknown(PEERS, "there is no agent that would know any");
    };
    let AgentStatus { peers, peers_inbound, called_ago, .. } = status;
    let connected = match peers {
        0 => "it is connected with nobody now".to_owned(),
        _ => format!("it is connected with {peers}, of whom {peers_inbound} came to it"),
    };
    match called_ago {
        Some(ago) => Finding::ok(
            PEERS,
            format!("others reach this host, the last {} ago; {connected}", duration(*ago)),
        ),
        None => Finding::unknown(PEERS, format!("{connected}; whether others reach this host is not known")),
    }
}

fn firewalled(firewall: Firewall, status: Option<&AgentStatus>) -> Finding {
    let is_reached = status.is_some_and(|status| status.called_ago.is_some());
    match firewall {
        _ if is_reached => Finding::ok(FIREWALL, "other hosts come through"),
        Firewall::Open => Finding::ok(FIREWALL, "firewalld lets pkgtorrent in"),
        Firewall::NotRunning => {
            Finding::unknown(FIREWALL, "firewalld does not run; whether another keeps hosts out is not known")
        }
        Firewall::NotReadable => Finding::unknown(FIREWALL, format!("only root can read {ZONES}")),
        Firewall::Closed => Finding::warning(
            FIREWALL,
            format!("firewalld runs, and no zone in {ZONES} names pkgtorrent"),
            "firewall-cmd --permanent --add-service pkgtorrent && firewall-cmd --reload",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    fn status() -> AgentStatus {
        AgentStatus {
            program: env!("CARGO_PKG_VERSION").into(),
            port: Some(7071),
            called_ago: Some(9),
            peers: 2,
            peers_inbound: 1,
            ..AgentStatus::default()
        }
    }

    fn judged(agent: Found, port: io::Result<()>, firewall: Firewall) -> Vec<Finding> {
        judge(&Facts { agent, listen: "[::]:7071".parse().unwrap(), port, firewall })
    }

    fn states(agent: Found, port: io::Result<()>) -> [State; 4] {
        let findings = judged(agent, port, Firewall::NotRunning);
        std::array::from_fn(|nth| findings[nth].state)
    }

    fn here(change: impl FnOnce(&mut AgentStatus)) -> Found {
        let mut status = status();
        change(&mut status);
        Found::Here(Box::new(status))
    }

    #[test]
    fn an_agent_that_others_reach_is_fine() {
        assert_eq!(states(here(|_| {}), Ok(())), [State::Ok; 4]);
        let unreached = states(here(|status| status.called_ago = None), Ok(()));
        assert_eq!(unreached, [State::Ok, State::Ok, State::Unknown, State::Unknown]);
        let none = states(Found::None, Ok(()));
        assert_eq!(none, [State::Ok, State::Ok, State::Unknown, State::Unknown]);
    }

    #[test]
    fn each_thing_that_is_wrong_is_in_its_own_line() {
        let old = here(|status| status.program = "0.0.1".into());
        assert_eq!(states(old, Ok(()))[0], State::Warning);
        for found in [Found::Refusing("not you".into()), Found::Other("too old".into())] {
            assert_eq!(states(found, Ok(()))[0], State::Problem);
        }
        let taken = || Err(ErrorKind::AddrInUse.into());
        assert_eq!(states(Found::None, taken())[1], State::Warning);
        let without = here(|status| status.port = None);
        let other = here(|status| status.port = Some(7072));
        for (found, port) in [(without, Ok(())), (other, Ok(())), (here(|_| {}), taken())] {
            assert_eq!(states(found, port), [State::Ok, State::Warning, State::Ok, State::Ok]);
        }
    }

    #[test]
    fn a_firewall_counts_until_somebody_came_through() {
        let closed = |called_ago| {
            let found = here(|status| status.called_ago = called_ago);
            judged(found, Ok(()), Firewall::Closed)[3].state
        };
        assert_eq!((closed(Some(1)), closed(None)), (State::Ok, State::Warning));
        assert_eq!(judged(Found::None, Ok(()), Firewall::Open)[3].state, State::Ok);
        assert!(lets_in(r#"<zone><service name="pkgtorrent"/></zone>"#, 7071));
        assert!(lets_in(r#"<zone><port protocol="tcp" port="7071"/></zone>"#, 7071));
        assert!(!lets_in(r#"<zone><service name="pkgtorrent-service"/></zone>"#, 7071));
    }
}
