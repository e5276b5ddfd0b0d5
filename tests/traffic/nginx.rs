//! The NGINX director against the real NGINX.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use migrate::host::{Command, Output};
use migrate::model::{Mode, Sharing};
use migrate::outside::{Certainty, Error, Kind};
use migrate::ssh::{Environment, Options, Pool};
use migrate::traffic::dial::Local;
use migrate::traffic::nginx::Settings;
use migrate::traffic::{
    Commands, Context, Dial, DialError, Director, DirectorConfig, DirectorKind, OnHosts, OverSsh, Stream,
};

use crate::lab::nginx::Nginx;
use crate::lab::sshd::{Sshd, next_address};
use crate::traffic::conformance::Subject;
use crate::traffic::moves::Move;
use crate::traffic::support::{change, context, eventually, shown};

/// A server that answers each request with its name; one for `/held` gets no answer till the client goes.
fn answering(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind((next_address(), 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut request = [0; 2048];
                let n = client.read(&mut request).unwrap_or(0);
                if request[..n].starts_with(b"GET /held") {
                    let _ = client
                        .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
                    let _ = std::io::copy(&mut client, &mut std::io::sink());
                    return;
                }
                let length = name.len();
                let _ =
                    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}");
            });
        }
    });
    addr
}

fn ask(front: SocketAddr) -> String {
    let mut stream = TcpStream::connect(front).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

/// The servers of the upstream, as somebody wrote them.
fn lines(old: SocketAddr, other: SocketAddr, new: SocketAddr) -> [String; 3] {
    [
        format!("server {old} weight=100 max_fails=0; # first rack"),
        format!("server {other} weight=100;"),
        format!("server {new} weight=100 down;"),
    ]
}

/// NGINX in front of three servers.
struct Lab {
    nginx: Nginx,
    old: SocketAddr,
    other: SocketAddr,
    new: SocketAddr,
}

impl Lab {
    fn start() -> Self {
        let (old, other, new) = (answering("old"), answering("other"), answering("new"));
        Self { nginx: Nginx::start(&lines(old, other, new)), old, other, new }
    }

    fn lines(&self) -> [String; 3] {
        lines(self.old, self.other, self.new)
    }

    fn settings(&self) -> Settings {
        let path = |path: PathBuf| path.display().to_string();
        Settings {
            file: path(self.nginx.file()),
            marker: path(self.nginx.marker()),
            on: Vec::new(),
            command: self.nginx.command(),
            pid: path(self.nginx.pid_file()),
        }
    }

    /// The director as an inventory has it.
    fn in_words(&self) -> String {
        let Settings { file, marker, command, pid, .. } = self.settings();
        let words = command.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
        format!("{{ nginx: {{ file: \"{file}\", marker: \"{marker}\", command: [{words}], pid: \"{pid}\" }} }}")
    }

    fn director(&self) -> Arc<dyn Director> {
        self.settings().connect("edge", &context(&[])).unwrap()
    }

    fn replace(&self) -> Vec<(String, &'static str)> {
        let path = |path: PathBuf| path.display().to_string();
        vec![
            (path(self.nginx.file()), "FILE"),
            (path(self.nginx.config()), "CONFIG"),
            (path(self.nginx.marker()), "MARKER"),
            (self.old.to_string(), "OLD"),
            (self.new.to_string(), "NEW"),
        ]
    }

    fn subject(self, settings: Settings, context: &Context, also: Option<Box<dyn Any + Send + Sync>>) -> Subject {
        let director = || settings.connect("edge", context).unwrap();
        Subject {
            director: director(),
            twin: director(),
            pool: "web".to_owned(),
            old: self.old.to_string(),
            other: self.other.to_string(),
            new: self.new.to_string(),
            nobody: "192.0.2.99:80".to_owned(),
            client: Some(self.nginx.front),
            names_clients: false,
            config: DirectorConfig::Nginx(settings.clone()),
            _servers: Box::new((self, also)),
        }
    }
}

pub fn here() -> Subject {
    let lab = Lab::start();
    let settings = lab.settings();
    lab.subject(settings, &context(&[]), None)
}

pub fn over_ssh() -> Subject {
    let lab = Lab::start();
    let dir = tempfile::tempdir().unwrap();
    let sshd = Sshd::start(&dir.path().join("lb-1"), "lb-1");
    let environment = Environment {
        home: Some(dir.path().to_owned()),
        user: Some(crate::lab::sshd::user()),
        ..Environment::default()
    };
    let pool = Pool::new(environment, BTreeMap::new(), Options::default());
    let hosts = BTreeMap::from([("lb-1".to_owned(), sshd.host())]);
    let context = Context {
        dial: Arc::new(OverSsh::new(pool.clone(), hosts.clone())),
        commands: Arc::new(OnHosts::new(Arc::new(pool), hosts)),
        ..context(&[])
    };
    let settings = Settings { on: vec!["lb-1".to_owned()], ..lab.settings() };
    lab.subject(settings, &context, Some(Box::new((sshd, dir))))
}

/// Two hosts on this machine: `/edge` is another directory on each.
#[derive(Clone)]
struct TwoHosts(BTreeMap<String, PathBuf>);

impl TwoHosts {
    fn there(&self, host: &str, text: &str) -> String {
        text.replace("/edge", &self.0[host].display().to_string())
    }
}

#[async_trait]
impl Commands for TwoHosts {
    async fn run(&self, host: &str, command: &Command) -> Result<Output, Error> {
        // The sockets of this machine are those of the first one.
        if host != "lb-1" && command.script.contains("ss -Htn") {
            return Ok(Output { status: 0, stdout: Vec::new(), stderr: Vec::new(), truncated: false });
        }
        let args = command.args.iter().map(|arg| self.there(host, arg)).collect();
        context(&[]).commands.here(&Command { args, ..command.clone() }).await
    }
}

#[async_trait]
impl Dial for TwoHosts {
    async fn remote_unix(&self, host: &str, path: &str) -> Result<Box<dyn Stream>, DialError> {
        Local.unix(self.there(host, path).as_ref()).await
    }
}

pub fn on_two_hosts() -> Subject {
    let lab = Lab::start();
    let second = Nginx::start(&lab.lines());
    let dir = |nginx: &Nginx| nginx.file().parent().unwrap().to_owned();
    let hosts = TwoHosts([("lb-1".to_owned(), dir(&lab.nginx)), ("lb-2".to_owned(), dir(&second))].into());
    let context = Context { dial: Arc::new(hosts.clone()), commands: Arc::new(hosts), ..context(&[]) };
    let settings = Settings {
        file: "/edge/web.conf".to_owned(),
        marker: "/edge/marker.sock".to_owned(),
        on: vec!["lb-1".to_owned(), "lb-2".to_owned()],
        command: vec![lab.nginx.command()[0].clone(), "-c".to_owned(), "/edge/nginx.conf".to_owned()],
        pid: "/edge/nginx.pid".to_owned(),
    };
    lab.subject(settings, &context, Some(Box::new(second)))
}

#[tokio::test]
async fn clients_get_what_was_set_and_the_file_is_the_same_bytes_afterwards() {
    let lab = Lab::start();
    let (director, before) = (lab.director(), lab.nginx.text());
    let (old, other, new) = (lab.old.to_string(), lab.other.to_string(), lab.new.to_string());
    let pool = director.observe("web").await.unwrap();
    assert_eq!(pool.member(&new).map(|m| (m.weight, m.mode)), Some((100, Mode::Maint)), "somebody wrote `down`");
    let there = [change(&new, 100, Mode::Ready), change(&old, 100, Mode::Drain), change(&other, 0, Mode::Ready)];
    director.apply("web", &there).await.unwrap();
    // The new generation answers: no request goes the old way any more.
    let answers: Vec<String> = (0..10).map(|_| ask(lab.nginx.front)).collect();
    assert!(answers.iter().all(|a| a == "new"), "{answers:?}");
    assert!(lab.nginx.text().contains("# first rack"), "{}", lab.nginx.text());
    let back = [change(&new, 100, Mode::Maint), change(&old, 100, Mode::Ready), change(&other, 100, Mode::Ready)];
    director.apply("web", &back).await.unwrap();
    assert_eq!(lab.nginx.text(), before);
    let answers: Vec<String> = (0..10).map(|_| ask(lab.nginx.front)).collect();
    assert!(answers.iter().all(|a| a != "new") && answers.iter().any(|a| a == "old"), "{answers:?}");
    assert!(std::fs::read_dir(lab.nginx.file().parent().unwrap()).unwrap().all(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        !name.contains("migrate-")
    }));
}

#[tokio::test]
async fn a_reload_by_somebody_else_changes_nothing_and_their_edit_is_seen() {
    let mut lab = Lab::start();
    let (director, new) = (lab.director(), lab.new.to_string());
    let set = director.apply("web", &[change(&new, 25, Mode::Ready)]).await.unwrap();
    lab.nginx.reload();
    assert_eq!(director.observe("web").await.unwrap(), set);
    // By hand, over ours, and read again.
    std::fs::write(lab.nginx.file(), lab.nginx.text().replace("weight=25", "weight=75")).unwrap();
    lab.nginx.reload();
    eventually("their weight is seen", || async {
        director.observe("web").await.is_ok_and(|pool| pool.member(&new).is_some_and(|m| m.weight == 75))
    })
    .await;
    // What stood is set again.
    let again = director.apply("web", &[change(&new, 25, Mode::Ready)]).await.unwrap();
    assert_eq!(again, set);
}

#[tokio::test]
async fn a_held_connection_of_an_old_worker_is_counted_until_it_ends() {
    let lab = Lab::start();
    let (director, old, other) = (lab.director(), lab.old.to_string(), lab.other.to_string());
    director.apply("web", &[change(&other, 100, Mode::Maint)]).await.unwrap();
    let mut client = TcpStream::connect(lab.nginx.front).unwrap();
    write!(client, "GET /held HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 12]).unwrap();
    let count = || async { director.observe("web").await.unwrap().member(&old).unwrap().connections };
    eventually("the connection is counted", || async { count().await == Some(1) }).await;
    let drained = [change(&other, 100, Mode::Ready), change(&old, 100, Mode::Drain)];
    let now = director.apply("web", &drained).await.unwrap();
    assert_eq!(now.member(&old).unwrap().connections, Some(1), "a reload does not end it");
    assert_eq!(ask(lab.nginx.front), "other");
    assert_eq!(director.blockers("web", &old).await.unwrap().len(), 1);
    drop(client);
    eventually("the connection is gone", || async { count().await == Some(0) }).await;
}

#[tokio::test]
async fn a_configuration_that_nginx_refuses_is_put_back_byte_for_byte() {
    let lab = Lab::start();
    let (director, before) = (lab.director(), lab.nginx.text());
    // Somebody is in the middle of something else.
    let config = std::fs::read_to_string(lab.nginx.config()).unwrap();
    std::fs::write(lab.nginx.config(), format!("{config}\nbroken\n")).unwrap();
    let error = director.apply("web", &[change(&lab.new.to_string(), 50, Mode::Ready)]).await.unwrap_err();
    assert_eq!(error.certainty, Certainty::Refused);
    let said = shown(&error, &lab.replace());
    assert!(said.starts_with("[refused] edge (FILE): NGINX refuses its configuration: "), "{said}");
    assert!(said.contains("unexpected end of file") && said.contains("CONFIG"), "{said}");
    assert_eq!(lab.nginx.text(), before);
    let refused = director.writable("web").await.unwrap_err();
    assert!(refused.what.contains("NGINX refuses its configuration"), "{refused}");
    std::fs::write(lab.nginx.config(), config).unwrap();
    director.writable("web").await.unwrap();
}

/// Does something before the next command of a kind.
struct Before {
    script: &'static str,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[async_trait]
impl Commands for Before {
    async fn run(&self, host: &str, _: &Command) -> Result<Output, Error> {
        panic!("{host} is not asked")
    }

    async fn here(&self, command: &Command) -> Result<Output, Error> {
        if command.script.contains(self.script)
            && let Some(act) = self.act.lock().unwrap().take()
        {
            act();
        }
        context(&[]).commands.here(command).await
    }
}

#[tokio::test]
async fn an_edit_between_reading_and_writing_is_noticed_and_kept() {
    let lab = Lab::start();
    let (file, theirs) = (lab.nginx.file(), lab.nginx.text().replace("# By hand.", "# By another hand."));
    let text = theirs.clone();
    let act: Box<dyn FnOnce() + Send> = Box::new(move || std::fs::write(file, text).unwrap());
    let commands = Arc::new(Before { script: "-s reload", act: Mutex::new(Some(act)) });
    let director = lab.settings().connect("edge", &Context { commands, ..context(&[]) }).unwrap();
    let error = director.apply("web", &[change(&lab.new.to_string(), 50, Mode::Ready)]).await.unwrap_err();
    assert_eq!((error.kind, error.certainty), (Kind::Conflict, Certainty::NotDone));
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [conflict] edge (FILE): somebody else has changed the file of web since it was read; nothing of ours was written
    hint: find out who else writes it, then run again
    ");
    assert_eq!(lab.nginx.text(), theirs);
}

#[tokio::test]
async fn a_write_that_was_cut_off_before_the_reload_is_finished_by_the_next_one() {
    let lab = Lab::start();
    let (director, new) = (lab.director(), lab.new.to_string());
    let set = director.apply("web", &[change(&new, 25, Mode::Ready)]).await.unwrap();
    director.apply("web", &[change(&new, 50, Mode::Ready)]).await.unwrap();
    let (text, generation) = (lab.nginx.text(), lab.nginx.file().with_extension("conf.generation"));
    let marker = std::fs::read_to_string(&generation).unwrap();
    director.apply("web", &[change(&new, 25, Mode::Ready)]).await.unwrap();
    // Both files are there, and nobody has told NGINX.
    std::fs::write(lab.nginx.file(), &text).unwrap();
    std::fs::write(&generation, &marker).unwrap();
    let error = director.observe("web").await.unwrap_err();
    assert_eq!(error.kind, Kind::Disagrees, "{error}");
    director.apply("web", &[change(&new, 50, Mode::Ready)]).await.unwrap();
    assert_eq!(lab.nginx.text(), text);
    let back = director.apply("web", &[change(&new, 25, Mode::Ready)]).await.unwrap();
    assert_eq!(back, set);
}

#[test]
fn killed_in_every_step_a_move_ends_well_and_goes_back_byte_for_byte() {
    let lab = Lab::start();
    let before = lab.nginx.text();
    let director = lab.in_words();
    let moving = Move::new(&director, "web", "{{ address }}:{{ port }}", (lab.old, lab.new), ["", ""]);
    let killed = moving.apply_with_kills();
    assert!(killed.len() >= 4, "{killed:?}");
    let answers: Vec<String> = (0..20).map(|_| ask(lab.nginx.front)).collect();
    assert!(answers.iter().all(|a| a != "old") && answers.iter().any(|a| a == "new"), "{answers:?}");
    moving.roll_back();
    assert_eq!(lab.nginx.text(), before);
    let answers: Vec<String> = (0..20).map(|_| ask(lab.nginx.front)).collect();
    assert!(answers.iter().all(|a| a != "new") && answers.iter().any(|a| a == "old"), "{answers:?}");
}

#[test]
fn a_run_holds_when_somebody_else_has_edited_and_reloaded_and_says_so() {
    let mut lab = Lab::start();
    let moving = Move::new(&lab.in_words(), "web", "{{ address }}:{{ port }}", (lab.old, lab.new), ["", ""]);
    moving.apply_until("shift-100");
    let line = |line: &str| match line.trim_start().starts_with(&format!("server {}", lab.old)) {
        true => format!("    server {} weight=7;\n", lab.old),
        false => format!("{line}\n"),
    };
    let theirs: String = lab.nginx.text().lines().map(line).collect();
    std::fs::write(lab.nginx.file(), &theirs).unwrap();
    lab.nginx.reload();
    let ended = moving.apply().expect(3);
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains(&format!("{} was set to weight", lab.old)) && said.contains("is weight 7"), "{said}");
    assert!(said.contains("NGINX has read its configuration"), "{said}");
    assert_eq!(lab.nginx.text(), theirs);
}

#[tokio::test]
async fn what_does_not_fit_is_said_with_what_is_there() {
    let lab = Lab::start();
    let director = lab.director();
    let error = director.observe("wbe").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [refused] edge (FILE): there is no upstream `wbe`
    hint: did you mean `web`?
    ");
    let facts = director.facts("web").await.unwrap();
    assert_eq!((facts.algorithm.as_deref(), facts.sharing), (Some("round robin"), Sharing::Weights));
    let nowhere = Settings { marker: "/nonexistent/marker.sock".to_owned(), ..lab.settings() };
    let error = nowhere.connect("edge", &context(&[])).unwrap().observe("web").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &lab.replace()), @r"
    [unknown] edge (FILE): NGINX does not answer at /nonexistent/marker.sock: no such file or directory
    hint: it needs `server { listen unix:PATH; return 200 $migrate_generation; }`: see docs/directors.md; is it running?
    ");
    let missing = Settings { file: "/nonexistent/web.conf".to_owned(), ..lab.settings() };
    let error = missing.connect("edge", &context(&[])).unwrap().observe("web").await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused, "{error}");
}
