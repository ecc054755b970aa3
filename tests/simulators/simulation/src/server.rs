//! A server on a loopback port.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::header::DATE;
use axum::http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service;

/// A response with this extension is not sent: the connection is dropped instead.
#[derive(Debug, Clone, Copy)]
pub struct DropConnection;

/// A running server; it ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    conduct: Arc<Conduct>,
    task: JoinHandle<()>,
}

/// The settings that can be changed while the server runs.
#[derive(Debug)]
struct Conduct {
    is_reachable: AtomicBool,
    /// How many seconds its clock is ahead.
    ahead: AtomicI64,
}

impl Server {
    /// Serves `router` on a port that the system chooses.
    pub async fn start(router: Router) -> Self {
        Self::on(Self::listener().await, router)
    }

    /// A free port.
    pub async fn listener() -> TcpListener {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free loopback port")
    }

    /// Listens on the port that a program was started with.
    ///
    /// # Errors
    /// Fails if the port cannot be used, with a sentence for the person who started the program.
    pub async fn listener_on(port: u16) -> Result<TcpListener, String> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {port} is in use; choose another one with --port"),
            _ => format!("port {port} cannot be used ({error}); choose another one with --port"),
        })
    }

    /// Serves `router` on a listener whose port had to be known earlier.
    pub fn on(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let conduct = Arc::new(Conduct { is_reachable: AtomicBool::new(true), ahead: AtomicI64::new(0) });
        Self { address, task: tokio::spawn(accept(listener, router, Arc::clone(&conduct))), conduct }
    }

    /// Sets whether the server can be reached from now on. If not, connections are dropped: new ones at once, and existing ones
    /// at their next request. The port stays bound, so that no other program gets it.
    pub fn set_reachable(&self, is_reachable: bool) {
        self.conduct.is_reachable.store(is_reachable, Ordering::SeqCst);
    }

    /// From now on the `Date` of its responses is this many seconds ahead of this machine's clock, or behind it.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.conduct.ahead.store(seconds, Ordering::SeqCst);
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The time of a clock that is this many seconds ahead.
fn date(ahead: i64) -> HeaderValue {
    let (now, by) = (SystemTime::now(), Duration::from_secs(ahead.unsigned_abs()));
    let time = if ahead > 0 { now + by } else { now - by };
    httpdate::fmt_http_date(time).parse().expect("a date is a header")
}

async fn accept(listener: TcpListener, router: Router, conduct: Arc<Conduct>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                if conduct.is_reachable.load(Ordering::SeqCst) {
                    connections.spawn(serve(stream, router.clone(), Arc::clone(&conduct)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, router: Router, conduct: Arc<Conduct>) {
    // A delayed write would be measured as the functions' latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let is_reachable = conduct.is_reachable.load(Ordering::SeqCst);
        let ahead = conduct.ahead.load(Ordering::SeqCst);
        async move {
            if !is_reachable {
                return Err(io::Error::other("the server cannot be reached"));
            }
            let response: Result<Response<Body>, Infallible> = router.call(request.map(Body::new)).await;
            let Ok(mut response) = response;
            if ahead != 0 {
                response.headers_mut().insert(DATE, date(ahead));
            }
            match response.extensions().get::<DropConnection>() {
                None => Ok(response),
                Some(DropConnection) => Err(io::Error::other("the connection is dropped on purpose")),
            }
        }
    });
    // The peer may close the connection at any time.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// Returns a free port for a program that gets its port as an argument. The ports are below those that systems assign, and each
/// is returned only once.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 8000).expect("it is small");
    let candidates = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed));
    candidates.take(1000).find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
