//! Directors that somebody wrote: the examples of the project at work, and programs that do not keep the contract.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use migrate::model::{Capabilities, Mode, Weights};
use migrate::outside::{Certainty, Kind};
use migrate::secret::SecretRef;
use migrate::ssh::{Environment, Options, Pool};
use migrate::traffic::command::Settings;
use migrate::traffic::{Context, Director, DirectorConfig, DirectorKind, OnHosts};

use crate::cli::run::{Ran, migrate_in};
use crate::lab::bird::Bird;
use crate::lab::sshd::Sshd;
use crate::traffic::conformance::Subject;
use crate::traffic::moves::Move;
use crate::traffic::support::{change, context, shown};

const FILE: Capabilities = Capabilities {
    weights: Weights::Exact(100),
    adds_members: false,
    connections: false,
    drain: true,
    ttl: false,
    ends_sessions: false,
};
const ROUTES: Capabilities = Capabilities {
    weights: Weights::Presence,
    adds_members: true,
    connections: false,
    drain: false,
    ttl: false,
    ends_sessions: false,
};

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn example(name: &str) -> String {
    format!("{}/examples/directors/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn settings(run: &[String], on: Option<&str>, can: Capabilities) -> Settings {
    let run = run.to_vec();
    let on = on.map(str::to_owned);
    Settings { run, on, can, secrets: BTreeMap::new(), within: Duration::from_secs(60) }
}

/// A directory with the file of one pool.
fn weights() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("web.weights"), "old 100 ready\nother 100 ready\nnew 0 ready\n").unwrap();
    dir
}

pub fn over_a_file() -> Subject {
    let dir = weights();
    let settings = settings(&[example("weights-file"), text(dir.path())], None, FILE);
    let director = || settings.connect("file", &context(&[])).unwrap();
    Subject {
        director: director(),
        twin: director(),
        pool: "web".to_owned(),
        old: "old".to_owned(),
        other: "other".to_owned(),
        new: "new".to_owned(),
        nobody: "nobody".to_owned(),
        client: None,
        names_clients: false,
        config: DirectorConfig::Command(settings),
        _servers: Box::new(dir),
    }
}

/// The program runs on a host, as BIRD does.
pub fn over_bird() -> Subject {
    let bird = Bird::start("anycast", &["203.0.113.1/32", "203.0.113.2/32"]);
    let dir = tempfile::tempdir().unwrap();
    let router = Sshd::start(&dir.path().join("rt-1"), "rt-1");
    let environment = Environment {
        home: Some(dir.path().to_owned()),
        user: Some(crate::lab::sshd::user()),
        ..Environment::default()
    };
    let pool = Pool::new(environment, BTreeMap::new(), Options::default());
    let hosts = BTreeMap::from([("rt-1".to_owned(), router.host())]);
    let context = Context { commands: Arc::new(OnHosts::new(Arc::new(pool), hosts)), ..context(&[]) };
    let words = [example("bird-routes"), text(&bird.socket()), text(bird.dir())];
    let settings = settings(&words, Some("rt-1"), ROUTES);
    let director = || settings.connect("anycast", &context).unwrap();
    Subject {
        director: director(),
        twin: director(),
        pool: "anycast".to_owned(),
        old: "203.0.113.1/32".to_owned(),
        other: "203.0.113.2/32".to_owned(),
        new: "203.0.113.9/32".to_owned(),
        nobody: "web-1".to_owned(),
        client: None,
        names_clients: false,
        config: DirectorConfig::Command(settings),
        _servers: Box::new((bird, router, dir)),
    }
}

#[tokio::test]
async fn what_another_program_reads_is_what_was_set() {
    let dir = weights();
    let settings = settings(&[example("weights-file"), text(dir.path())], None, FILE);
    let director = settings.connect("file", &context(&[])).unwrap();
    director.apply("web", &[change("new", 25, Mode::Ready), change("old", 100, Mode::Drain)]).await.unwrap();
    // The other program: the members that get anything, by weight.
    let file = dir.path().join("web.weights");
    let reader = "$3 == \"ready\" && $2 > 0 { print $1 \"=\" $2 }";
    let out = std::process::Command::new("awk").arg(reader).arg(file).output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "other=100\nnew=25\n");
}

#[tokio::test]
async fn a_route_that_was_taken_back_is_not_announced_any_more_and_the_last_one_stays() {
    let subject = over_bird();
    let off = [change(&subject.old, 0, Mode::Ready)];
    let now = subject.director.apply("anycast", &off).await.unwrap();
    let (bird, ..) = subject._servers.downcast_ref::<(Bird, Sshd, tempfile::TempDir)>().unwrap();
    let routes = bird.ask(&["show", "route"]);
    assert!(!routes.contains(&subject.old) && routes.contains(&subject.other), "{routes}");
    assert_eq!(now.members.len(), 1);
    let error = subject.director.apply("anycast", &[change(&subject.other, 0, Mode::Ready)]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused, "{error}");
    assert!(error.what.contains("this would withdraw the last route"), "{error}");
}

#[test]
fn what_is_shown_while_bird_is_configured_is_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("web.routes"), "route 203.0.113.1/32 blackhole;\n").unwrap();
    let birdc = "#!/bin/sh\ncd \"${0%/*}\"\nif mkdir asked 2>/dev/null; then\necho 'Stopped due to reconfiguration'; exit 1; fi\n\
                 echo '203.0.113.1/32 blackhole [web 10:00:00.000] * (200)'\n";
    std::fs::write(dir.path().join("birdc"), birdc).unwrap();
    std::fs::set_permissions(dir.path().join("birdc"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut routes = std::process::Command::new(example("bird-routes"));
    routes.args(["socket", &text(dir.path()), "observe", "web"]).env("PATH", path);
    let out = routes.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8(out.stdout).unwrap(), "{\"members\": [{\"name\": \"203.0.113.1/32\"}]}\n");
    assert!(dir.path().join("asked").is_dir());
}

/// A program in a few lines of shell: `STATE` is a file with what it answers.
struct Scripted {
    dir: tempfile::TempDir,
    settings: Settings,
}

impl Scripted {
    /// `apply` is what it does with a change; the rest keeps the contract.
    fn new(apply: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("director");
        let script = format!(
            "#!/bin/sh\nSTATE={}\ncase $1 in\ncapabilities) echo '{{\"weights\":100,\"drain\":true}}' ;;\n\
             observe) cat $STATE ;;\nwritable) ;;\napply) cat >/dev/null; {apply} ;;\n*) exit 3 ;;\nesac\n",
            dir.path().join("state").display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let scripted = Self { settings: settings(&[text(&program)], None, FILE), dir };
        scripted.says("{\"members\":[{\"name\":\"old\",\"weight\":100},{\"name\":\"new\",\"weight\":0}]}");
        scripted
    }

    fn says(&self, state: &str) {
        std::fs::write(self.dir.path().join("state"), state).unwrap();
    }

    fn director(&self) -> Arc<dyn Director> {
        self.settings.connect("ours", &context(&[("TOKEN", "sesame")])).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// What becomes of giving `new` a weight of 50.
    async fn said(&self) -> (Certainty, String) {
        let error = self.director().apply("web", &[change("new", 50, Mode::Ready)]).await.unwrap_err();
        (error.certainty, shown(&error, &[(self.path().display().to_string(), "DIR")]))
    }
}

const DONE: &str = "sed -i 's/\"weight\":0/\"weight\":50/' $STATE";

#[tokio::test]
async fn only_what_is_there_afterwards_is_believed() {
    let lies = Scripted::new("true");
    let (certainty, said) = lies.said().await;
    assert_eq!(certainty, Certainty::Unknown);
    insta::assert_snapshot!(said, @r"
    [disagrees] ours (DIR/director): new was set to weight 50 and reads back weight 0
    hint: the program said that it was done: either it was not, or somebody else has changed it since
    ");
    // It did it, and its answer was lost.
    let lost = Scripted::new(&format!("{DONE}; kill -9 $$"));
    let now = lost.director().apply("web", &[change("new", 50, Mode::Ready)]).await.unwrap();
    assert_eq!(now.member("new").map(|m| m.weight), Some(50));
}

#[tokio::test]
async fn exit_codes_mean_what_the_contract_says() {
    let (certainty, said) = Scripted::new("echo 'no, not on a Friday' >&2; exit 3").said().await;
    assert_eq!(certainty, Certainty::Refused);
    insta::assert_snapshot!(said, @"[refused] ours (DIR/director): `apply` was refused: no, not on a Friday");
    let (certainty, said) = Scripted::new("exit 4").said().await;
    assert_eq!(certainty, Certainty::NotDone);
    insta::assert_snapshot!(said, @r"
    [conflict] ours (DIR/director): `apply` found that somebody else has changed it
    hint: find out who else changes it, then run again
    ");
    let (certainty, said) = Scripted::new("echo 'out of memory' >&2; exit 1").said().await;
    assert_eq!(certainty, Certainty::Unknown);
    insta::assert_snapshot!(said, @r"
    [unknown] ours (DIR/director): `apply` ended with status 1: out of memory
    hint: by its contract 0 is done, 3 refused, 4 a conflict; any other status says nothing
    ");
    let (certainty, said) = Scripted::new("sed -i 's/100/99/' $STATE; exit 3").said().await;
    assert_eq!(certainty, Certainty::Unknown);
    insta::assert_snapshot!(said, @r"
    [disagrees] ours (DIR/director): `apply` was refused; and yet web is not as it was before
    hint: look at what it has now: `migrate director show`
    ");
}

#[tokio::test]
async fn an_answer_that_is_none_is_said_to_be_none_and_not_asked_for_again() {
    let scripted = Scripted::new("true");
    scripted.says("{\"members\":[{\"name\":\"old\",\"wieght\":100}]}");
    let error = scripted.director().observe("web").await.unwrap_err();
    assert!(!error.transient, "{error}");
    insta::assert_snapshot!(shown(&error, &[(scripted.path().display().to_string(), "DIR")]), @r"
    [unknown] ours (DIR/director): the answer to `observe` is none: unknown field `wieght`, expected one of `name`, `weight`, `mode`, `connections`, `sessions`, `up` at line 1 column 34
    hint: docs/directors.md says what it has to answer; `migrate director check ours POOL` tries it
    ");
}

#[tokio::test]
async fn a_program_that_is_not_there_or_can_something_else_is_found_when_a_plan_is_made() {
    let missing = settings(&["/nonexistent/director".to_owned()], None, FILE).connect("ours", &context(&[])).unwrap();
    let error = missing.observe("web").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &[]), @"[refused] ours (/nonexistent/director): `observe` was refused: there is no program /nonexistent/director");
    let scripted = Scripted::new("true");
    let other = Settings { can: Capabilities { drain: false, ..FILE }, ..scripted.settings.clone() };
    let error = other.connect("ours", &context(&[])).unwrap().writable("web").await.unwrap_err();
    insta::assert_snapshot!(shown(&error, &[(scripted.path().display().to_string(), "DIR")]), @r"
    [refused] ours (DIR/director): what it says it can is not what the inventory says of it
    hint: write `can: {weights: 100, drain: true}`
    ");
}

#[tokio::test]
async fn secrets_are_in_its_environment_and_in_no_command_line() {
    let scripted = Scripted::new(
        "[ \"$TOKEN\" = sesame ] || exit 3; case $(tr '\\0' ' ' </proc/$$/cmdline) in *sesame*) exit 3;; esac",
    );
    let secrets = BTreeMap::from([("TOKEN".to_owned(), SecretRef::Env("TOKEN".to_owned()))]);
    let with_secret = Settings { secrets, ..scripted.settings.clone() };
    let director = with_secret.connect("ours", &context(&[("TOKEN", "sesame")])).unwrap();
    director.apply("web", &[change("new", 0, Mode::Ready)]).await.unwrap();
    let error = scripted.director().apply("web", &[change("new", 0, Mode::Ready)]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Refused);
}

#[test]
fn killed_in_every_step_a_move_ends_well_and_goes_back_to_the_same_file() {
    let mine = weights();
    let file = mine.path().join("web.weights");
    let before = "old 100 ready\nother 100 ready\nnew 0 maint\n";
    std::fs::write(&file, before).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let (run, can) = (example("weights-file"), "{ weights: 100, drain: true }");
    let director = format!("{{ command: {{ run: [\"{run}\", \"{}\"], can: {can} }} }}", mine.path().display());
    let moving = Move::new(&director, "web", "{{ member }}", (at, at), ["old", "new"]);
    let killed = moving.apply_with_kills();
    assert!(killed.len() >= 4, "{killed:?}");
    let there = std::fs::read_to_string(&file).unwrap();
    assert!(there.contains("new 100 ready") && !there.contains("old 100 ready"), "{there}");
    moving.roll_back();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

/// `migrate director check` of a program, with what it left behind.
fn checked(run: &[String], dir: &Path, words: &[&str]) -> Ran {
    let run = run.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let can = "{weights: 100, drain: true}";
    let inventory = format!("directors: {{ ours: {{ command: {{ run: [{run}], can: {can} }} }} }}\n");
    std::fs::write(dir.join("inventory.yaml"), inventory).unwrap();
    migrate_in(dir, dir, &[&["director", "check", "ours", "web"], words].concat())
}

#[test]
fn a_program_that_keeps_the_contract_passes_and_its_pool_is_as_it_was() {
    let (dir, mine) = (tempfile::tempdir().unwrap(), weights());
    let file = mine.path().join("web.weights");
    let before = "dal-1 70 ready\ndal-2 30 drain\nfra-1 0 maint\nfra-2 9 ready\n";
    std::fs::write(&file, before).unwrap();
    let run = [example("weights-file"), text(mine.path())];
    let unasked = checked(&run, dir.path(), &[]);
    assert_eq!(unasked.code, 1);
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let ran = checked(&run, dir.path(), &["--yes"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    insta::assert_snapshot!(ran.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
}

#[test]
fn a_program_that_breaks_the_contract_is_told_where_and_what_it_did_instead() {
    let scripted = Scripted::new(DONE);
    scripted.says(
        "{\"members\":[{\"name\":\"a\",\"weight\":100},{\"name\":\"b\",\"weight\":100},{\"name\":\"c\",\"weight\":0}]}",
    );
    let program = scripted.path().join("director");
    let ran = checked(&[text(&program)], &scripted.path(), &["--yes", "--format", "json"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    let told: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let promises = told["promises"].as_array().unwrap();
    let broken: Vec<&str> = promises.iter().filter(|p| p["kept"] == false).filter_map(|p| p["why"].as_str()).collect();
    assert!(broken.iter().any(|why| why.contains("c was set to weight 0 and reads back weight 50")), "{broken:?}");
    assert!(told["left_behind"].as_str().unwrap().contains("c was set to weight 0"), "{told}");
    let few = Scripted::new("true");
    let program = few.path().join("director");
    let ran = checked(&[text(&program)], &few.path(), &["--yes"]);
    insta::assert_snapshot!(ran.err, @r"
    error: it takes three members that may be set to anything, and web has 2
      help: add one, or name three with `--members A,B,C`
    ");
}
