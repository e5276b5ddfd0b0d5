//! `migrate serve`: the live view of all runs, in a browser.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::desk::CommandDesk;
use super::environment::Environment;
use super::failure::advised;
use crate::serve::{self, Doors, People, Serving};

/// Where it listens unless told.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8470);

/// Arguments of `migrate serve`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
It listens on this machine alone and wants a token, which the first link carries. Whoever has the token may do what `migrate` does here:
give it away as you would a login. Elsewhere it listens over TLS only.

Examples:
  migrate serve                                                  then open the link; from another desk: ssh -L 8470:127.0.0.1:8470 HOST
  migrate serve --read-only                                      for a screen on the wall
  migrate serve --listen 10.0.0.5:8470 --name ops.example --tls-cert ops.pem --tls-key ops.key --people people
  curl -H \"Authorization: Bearer $(cat ~/.local/state/migrate/serve-token)\" http://127.0.0.1:8470/metrics")]
pub struct Args {
    /// Where to listen [default: 127.0.0.1:8470]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,

    /// Name by which browsers reach it, when it is not its address; may be given more than once
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,

    /// Certificate of the server and those that vouch for it, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Others who may ask, a line each: NAME TOKEN, or NAME TOKEN read-only
    #[arg(long, value_name = "FILE")]
    people: Option<PathBuf>,

    /// Let nobody do anything
    #[arg(long)]
    read_only: bool,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut serving = start(args, environment, true).await?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = serving.ended() => {}
    }
    Ok(Exit::Ok)
}

/// Beside a run that is applied, on this machine alone.
pub async fn beside(listen: SocketAddr, environment: &Environment) -> anyhow::Result<Serving> {
    let args = Args { listen: Some(listen), ..Args::default() };
    start(&args, environment, false).await
}

/// Begins to serve, and says where. `tells`: who comes and what they ask for.
async fn start(args: &Args, environment: &Environment, tells: bool) -> anyhow::Result<Serving> {
    let listen = args.listen.unwrap_or(HERE);
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            let acceptor = serve::acceptor(certificate, key);
            Some(acceptor.map_err(|e| advised(e.to_string(), "give PEM files that belong together"))?)
        }
        _ if listen.ip().is_loopback() => None,
        _ => {
            let what = format!(
                "{listen} is not of this machine alone, and without TLS everybody on the way could read the token"
            );
            return Err(advised(
                what,
                "give --tls-cert and --tls-key; or leave it on 127.0.0.1, and come by: ssh -L 8470:127.0.0.1:8470 HOST",
            ));
        }
    };
    let mut names = args.names.clone();
    names.extend(own_names(listen.ip()));
    let Some(first) = names.first().cloned() else {
        let what =
            format!("{listen} stands for every address of this machine, and browsers must name one that is known");
        return Err(advised(what, "say by which name it is reached: --name HOST"));
    };
    let token_help = "it is a file for you alone, in the state directory";
    let (token, place) = serve::own_token(&environment.state_dir).map_err(|e| advised(e.to_string(), token_help))?;
    let mut people = People::owner(&environment.operator().user, token.clone());
    if let Some(file) = &args.people {
        let help = "a line is `NAME TOKEN` or `NAME TOKEN read-only`; make tokens with `openssl rand -hex 32`";
        people = people.and_of(file).map_err(|e| advised(e.to_string(), help))?;
    }
    let listener = TcpListener::bind(listen).await;
    let listener = listener
        .map_err(|e| advised(format!("cannot listen on {listen}: {e}"), "choose another place with --listen"))?;
    let port = listener.local_addr().context("the server has no address")?.port();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let doors = Doors::new(&names, port, tls.is_some(), args.read_only, people);
    let desk = Arc::new(CommandDesk::new(environment.clone(), tells));
    let serving = serve::serve(listener, tls, doors, Arc::clone(&environment.store), desk);
    let link = format!("{scheme}://{first}:{port}/");
    // What is no terminal may be a log that others read.
    match std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        true => eprintln!("The live view is at {link}#token={}", token.reveal()),
        false => eprintln!("The live view is at {link}; its token is in {}", place.display()),
    }
    Ok(serving)
}

fn own_names(ip: IpAddr) -> Vec<String> {
    match ip {
        ip if ip.is_loopback() => ["127.0.0.1", "localhost", "[::1]"].map(str::to_owned).to_vec(),
        ip if ip.is_unspecified() => Vec::new(),
        IpAddr::V4(ip) => vec![ip.to_string()],
        IpAddr::V6(ip) => vec![format!("[{ip}]")],
    }
}
