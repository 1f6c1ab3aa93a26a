//! Where clients come in: the listeners for everybody, and those for who watches over the service if they are to be apart.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle, Service as _};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, HttpServer};
use futures_util::future::try_join_all;

use crate::RunError;
use crate::http::{self, Connection, Service};
use crate::idle::{AnsweringBody, Watched};
use crate::settings::Settings;

/// How long answers may go on after the service was told to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that wait in the kernel to be accepted: a fleet comes within one second.
const BACKLOG: i32 = 4096;

/// The most connections of those who watch: some people with the page open, and what collects metrics. One thread answers
/// them, so that whatever they ask for leaves the others to the hosts.
const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Open files that a connection takes: itself, its second handle, and the file that it is sent.
const FILES_PER_CONNECTION: u64 = 3;

/// Open files that everything else takes, with room to spare.
const FILES_RESERVED: u64 = 256 + FILES_PER_CONNECTION * ADMIN_CONNECTIONS_MAX as u64;

/// Where the service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// For everybody.
    pub public: Vec<SocketAddr>,
    /// For who watches over it; none when they come in with everybody else.
    pub admin: Vec<SocketAddr>,
}

/// What listens already, and is not answered yet.
pub(crate) struct Listeners {
    public: Vec<TcpListener>,
    admin: Vec<TcpListener>,
}

/// What answers.
pub(crate) struct Serving(Vec<Server>);

impl Listeners {
    /// Binds before the service starts, so that a mistake is told at once.
    pub(crate) fn bind(settings: &Settings) -> Result<Self, RunError> {
        let all = |addresses: &[SocketAddr]| -> Result<Vec<_>, RunError> {
            addresses.iter().map(|&address| bind(address)).collect()
        };
        Ok(Self { public: all(&settings.listen)?, admin: all(&settings.admin_listen)? })
    }

    /// Where that is: the ports are known now.
    pub(crate) fn addresses(&self) -> io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| -> io::Result<Vec<_>> {
            listeners.iter().map(TcpListener::local_addr).collect()
        };
        Ok(Addresses { public: of(&self.public)?, admin: of(&self.admin)? })
    }

    /// Answers what comes in.
    pub(crate) fn serve(self, service: &Data<Service>) -> io::Result<Serving> {
        let settings = service.settings.load();
        let per_worker = affordable(settings.connections_max).div_ceil(settings.workers);
        let public = Answering { paths: http::public, workers: settings.workers, per_worker };
        if self.admin.is_empty() {
            let everything = Answering { paths: http::everything, ..public };
            return Ok(Serving(vec![everything.serve(service, self.public)?]));
        }
        let admin = Answering { paths: http::admin, workers: 1, per_worker: ADMIN_CONNECTIONS_MAX };
        Ok(Serving(vec![public.serve(service, self.public)?, admin.serve(service, self.admin)?]))
    }
}

impl Serving {
    /// What ends it.
    pub(crate) fn end(&self) -> impl Future<Output = ()> + use<> {
        let handles: Vec<ServerHandle> = self.0.iter().map(Server::handle).collect();
        async move {
            futures_util::future::join_all(handles.iter().map(|handle| handle.stop(true))).await;
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) -> io::Result<()> {
        try_join_all(self.0).await.map(drop)
    }
}

/// How the connections of some listeners are answered.
struct Answering {
    paths: fn(&mut ServiceConfig),
    workers: usize,
    /// The most connections of each worker.
    per_worker: usize,
}

impl Answering {
    fn serve(&self, service: &Data<Service>, listeners: Vec<TcpListener>) -> io::Result<Server> {
        let (paths, client_timeout) = (self.paths, service.settings.load().client_timeout);
        let user_timeout = u32::try_from(client_timeout.as_millis()).unwrap_or(u32::MAX);
        let service = service.clone();
        let app = move || {
            App::new().app_data(service.clone()).configure(paths).wrap_fn(|request, next| {
                let answering = request.conn_data::<Connection>().and_then(Connection::answer);
                let answer = next.call(request);
                async move {
                    let answer = answer.await?;
                    http::count(answer.request(), answer.status());
                    Ok(answer.map_body(|_, body| AnsweringBody::new(body, answering)))
                }
            })
        };
        let mut server = HttpServer::new(app)
            .workers(self.workers)
            .max_connections(self.per_worker)
            .client_request_timeout(client_timeout)
            .keep_alive(client_timeout)
            .shutdown_timeout(SHUTDOWN_TIMEOUT.as_secs())
            .disable_signals()
            .on_connect(move |stream, extensions| {
                let Some(stream) = stream.downcast_ref::<actix_web::rt::net::TcpStream>() else {
                    return;
                };
                // A client that takes nothing at all is cut off by the kernel: no write would ever return to notice.
                let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, user_timeout);
                let _ = stream.set_nodelay(true);
                if let Ok(local) = stream.local_addr() {
                    extensions
                        .insert(Connection { local, watched: Watched::new(stream, client_timeout).ok() });
                }
            });
        for listener in listeners {
            server = server.listen(listener)?;
        }
        Ok(server.run())
    }
}

/// As many of the wanted connections as the system gives us open files for, after asking for all that we may have.
fn affordable(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let before = getrlimit(Resource::Nofile);
    // What is refused here is found out below.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    let Some(files) = getrlimit(Resource::Nofile).current else { return wanted };
    let most =
        usize::try_from(files.saturating_sub(FILES_RESERVED) / FILES_PER_CONNECTION).unwrap_or(usize::MAX);
    if most < wanted {
        tracing::warn!(
            "{most} connections at once instead of {wanted}: this process may have {files} open files"
        );
    }
    wanted.min(most).max(1)
}

/// An IPv6 address takes IPv4 as well, and where there is no IPv6, every address of the machine is every IPv4 one.
fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = match bind_to(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && has_no_family(&error) => {
            bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
        }
        bound => bound,
    };
    bound.map_err(|source| RunError::Listen { address, source })
}

fn has_no_family(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}
