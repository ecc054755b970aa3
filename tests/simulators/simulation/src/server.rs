//! A server on a loopback port.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
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
    is_reachable: Arc<AtomicBool>,
    task: JoinHandle<()>,
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

    /// The port that a program was asked to listen on.
    ///
    /// # Errors
    /// Fails if the port cannot be used, with a sentence for the person who started the program.
    pub async fn listener_on(port: u16) -> Result<TcpListener, String> {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {port} is in use; choose another one with --port"),
            _ => format!("port {port} cannot be used ({error}); choose another one with --port"),
        })
    }

    /// Serves `router` on a listener whose port had to be known before.
    pub fn on(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let is_reachable = Arc::new(AtomicBool::new(true));
        Self { address, task: tokio::spawn(accept(listener, router, Arc::clone(&is_reachable))), is_reachable }
    }

    /// Whether it can be reached from now on. Otherwise connections are dropped, new ones at once and those that there are with
    /// their next request. The port stays bound, so that no other program gets it.
    pub fn set_reachable(&self, is_reachable: bool) {
        self.is_reachable.store(is_reachable, Ordering::SeqCst);
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

async fn accept(listener: TcpListener, router: Router, is_reachable: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                if is_reachable.load(Ordering::SeqCst) {
                    connections.spawn(serve(stream, router.clone(), Arc::clone(&is_reachable)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, router: Router, is_reachable: Arc<AtomicBool>) {
    // What is not sent at once would be measured as the functions' latency.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let is_reachable = is_reachable.load(Ordering::SeqCst);
        async move {
            if !is_reachable {
                return Err(io::Error::other("the server cannot be reached"));
            }
            let response: Result<Response<Body>, Infallible> = router.call(request.map(Body::new)).await;
            let Ok(response) = response;
            match response.extensions().get::<DropConnection>() {
                None => Ok(response),
                Some(DropConnection) => Err(io::Error::other("the connection is dropped on purpose")),
            }
        }
    });
    // The peer may end the connection as it likes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}
