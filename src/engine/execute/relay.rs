//! Steps that let a drained source send its last clients on to the new side, count them, and take that away again.
//!
//! Must never call a relay set or gone that has not been read back, never take one away that somebody has used within its time, and never
//! leave a host forwarding that did not forward before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::stragglers::{self, Counts};
use super::{Context, Effect, History, done, failed, hook, unknown};
use crate::event::{Event, Relayed, StepResult};
use crate::host::{Command, Output};
use crate::model::{HookPoint, OnDrift};
use crate::outside::{Error, Kind};
use crate::step::{HookStep, RelayStep, Step, StragglersStep, UnrelayStep};
use crate::text::{self, shell};

/// Rules are set at once.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long nobody can tell whether anybody comes before somebody has to look.
const PATIENCE: Duration = Duration::from_secs(300);
/// What changes all the time is recorded no more often than this.
const RECORDED_EVERY: Duration = Duration::from_secs(3600);
/// Looks in a row at which clients came and none was answered, before somebody has to look.
const UNANSWERED: u32 = 3;

/// Where `nft` is on hosts whose logins do not look there.
const PATH: &str = "PATH=$PATH:/usr/sbin:/sbin; export PATH\n";
/// What lets a host forward at all.
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Sets it, and reads it back. Nobody is sent to where nobody answers.
pub async fn set(context: &Context, step: &Step, relay: &RelayStep, history: &History) -> Effect {
    match ask(context, step, relay, &relay.reach()).await {
        Ok(output) if output.status == RelayStep::UNREACHED => {
            let to = text::list(&relay.routes.iter().map(|route| route.to.to_string()).collect::<Vec<_>>());
            let hint = "see that it serves there, and the firewalls between; then `migrate apply` again";
            return failed(format!("{} does not reach {to}: nobody is sent there", relay.host), Some(hint.to_owned()));
        }
        Ok(_) => {}
        Err(e) => return unknown(e.to_string(), e.hint),
    }
    let effect = hook::run(context, step, &commands(context, relay), history).await;
    if is_done(&effect) { read_back(context, step, relay).await } else { effect }
}

async fn read_back(context: &Context, step: &Step, relay: &RelayStep) -> Effect {
    match ask(context, step, relay, &is_set(context, relay)).await {
        Ok(output) if output.status == 0 => done(format!("who comes is sent on: {}", relay.told())),
        Ok(_) => failed(format!("{}: nftables does not list what was set", relay.host), None),
        Err(e) => unknown(e.to_string(), e.hint),
    }
}

/// Takes it away: the source may serve again.
pub async fn undo(context: &Context, step: &Step, relay: &RelayStep, history: &History) -> Effect {
    let effect = hook::undo(context, step, &commands(context, relay), history).await;
    if !is_done(&effect) {
        return effect;
    }
    match ask(context, step, relay, &is_set(context, relay)).await {
        Ok(output) if output.status == 1 => done(format!("{} sends nobody on any more", relay.host)),
        Ok(_) => still_there(context, relay),
        Err(e) => unknown(e.to_string(), e.hint),
    }
}

/// Takes it away at the end, and the receipts of that.
pub async fn lift(context: &Context, step: &Step, unrelay: &UnrelayStep, history: &History) -> Effect {
    let relay = &unrelay.relay;
    let both = commands(context, relay);
    let lift = HookStep { run: both.undo.clone().unwrap_or_default(), undo: None, ..both };
    let effect = hook::run(context, step, &lift, history).await;
    if !is_done(&effect) {
        return effect;
    }
    match ask(context, step, relay, &is_gone(context, relay)).await {
        Ok(output) if output.status == 0 => {}
        Ok(_) => return still_there(context, relay),
        Err(e) => return unknown(e.to_string(), e.hint),
    }
    let host = match context.host(&relay.host) {
        Ok(host) => host,
        Err(effect) => return effect,
    };
    // The pair has been cleaned up already.
    done(match context.world.remote.forget(host, &context.run).await {
        Ok(()) => "nothing is left behind".to_owned(),
        Err(e) => format!("left behind: {e}"),
    })
}

fn is_done(effect: &Effect) -> bool {
    matches!(effect, Effect::Ended(StepResult::Done { .. }))
}

fn still_there(context: &Context, relay: &RelayStep) -> Effect {
    failed(format!("{}: the table {} is still there", relay.host, relay.table(&context.run)), None)
}

/// Waits until nobody has come for the whole time, or somebody says that it is enough.
pub async fn watch(context: &Context, step: &Step, work: &StragglersStep, history: &History) -> Effect {
    tokio::select! {
        biased;
        effect = until_quiet(context, step, work, history) => effect,
        () = context.let_go() => Effect::Interrupted,
    }
}

async fn until_quiet(context: &Context, step: &Step, work: &StragglersStep, history: &History) -> Effect {
    let mut seen = Seen::new(context, history);
    loop {
        if let Some(word) = context.approvals_of(step).first() {
            return done(format!("{word}; {}", seen.relayed.told()));
        }
        let looked = match seen.look(context, step, work, history).await {
            Ok(Look::Counted(counts)) => seen.judge(context, step, work, counts).await,
            Ok(Look::Restored) => Ok(format!("{} sends on again who comes", work.relay.host)),
            Ok(Look::Unclear(why)) => Ok(why),
            Err(effect) => Err(effect),
        };
        match looked {
            Ok(what) => context.waiting(step, what),
            Err(effect) => return effect,
        }
        if context.pass(step, work.interval).await {
            return Effect::Interrupted;
        }
    }
}

/// What one look has found.
enum Look {
    Counted(Counts),
    /// The relay was gone, and has been set again.
    Restored,
    /// Nobody can tell.
    Unclear(String),
}

/// What is known of those who come.
struct Seen {
    /// As the journal has it.
    relayed: Relayed,
    /// At the look before.
    last: Option<Counts>,
    /// Since when nobody has come, and how long that was before this controller looked.
    quiet: (Instant, Duration),
    recorded: Option<Instant>,
    unclear: Option<Instant>,
    unanswered: u32,
    restored: u32,
}

impl Seen {
    fn new(context: &Context, history: &History) -> Self {
        let relayed = history.relayed.clone();
        let since = relayed.at.or(history.since);
        let passed = since.map(|at| context.world.clock.wall().duration_since(at));
        // What was counted tells whether that counts.
        let before = passed.and_then(|passed| Duration::try_from(passed).ok()).unwrap_or_default();
        let quiet = (context.world.clock.now(), before);
        Self { relayed, last: None, quiet, recorded: None, unclear: None, unanswered: 0, restored: 0 }
    }

    /// What is counted now. What cannot be seen for long needs somebody.
    async fn look(
        &mut self,
        context: &Context,
        step: &Step,
        work: &StragglersStep,
        history: &History,
    ) -> Result<Look, Effect> {
        let StragglersStep { by, relay, .. } = work;
        let now = context.world.clock.now();
        let why = match ask(&context.for_step(by), step, relay, &is_set(context, relay)).await {
            Ok(output) if output.status == 0 => match stragglers::read(&output.stdout) {
                Ok(counts) => {
                    self.unclear = None;
                    return Ok(Look::Counted(counts));
                }
                Err(why) => format!("what nftables on {} has counted cannot be read: {why}", relay.host),
            },
            Ok(_) => return self.gone(context, step, work, history).await.map(|()| Look::Restored),
            Err(e) if e.transient => e.to_string(),
            Err(e) => return Err(unknown(e.to_string(), e.hint)),
        };
        let since = *self.unclear.get_or_insert(now);
        if now.saturating_duration_since(since) >= PATIENCE.max(work.interval * 3) {
            let what = format!("nobody can tell whether anybody comes to {}: {why}", relay.host);
            return Err(unknown(what, Some("mend that, then `migrate apply`".to_owned())));
        }
        Ok(Look::Unclear(why))
    }

    /// It is not there any more: sets it again where the plan says so.
    async fn gone(
        &mut self,
        context: &Context,
        step: &Step,
        work: &StragglersStep,
        history: &History,
    ) -> Result<(), Effect> {
        let (relay, run) = (&work.relay, &context.run);
        let restores = context.on_drift().unwrap_or(relay.on_drift) == OnDrift::Restore;
        let clue = format!(
            "{} does not send on who comes any more: it was started again, or somebody has changed the table {} or {FORWARD}",
            relay.host,
            relay.table(run)
        );
        context
            .report(Event::Drifted {
                step: step.id.clone(),
                director: relay.host.clone(),
                pool: "relay".to_owned(),
                members: Vec::new(),
                clues: vec![clue.clone()],
                restores,
            })
            .await;
        if !restores {
            let hint = format!(
                "find out why, then let the run set it again: `migrate set {run} on_drift=restore` and `migrate apply`; \
                 `migrate approve {run} {}` does without it",
                step.id
            );
            return Err(Effect::Drifted { why: clue, hint, members: Vec::new() });
        }
        self.restored += 1;
        let nth = format!("{}.{}.again-{}", history.settled, history.attempts, self.restored);
        let effect = hook::once(context, step, &commands(context, relay), history, &nth).await;
        let effect = if is_done(&effect) { read_back(context, step, relay).await } else { effect };
        // Nobody knows who came meanwhile.
        self.quiet = (context.world.clock.now(), Duration::ZERO);
        self.last = None;
        if is_done(&effect) { Ok(()) } else { Err(effect) }
    }

    /// Whether it has been quiet for long enough; the words for what it waits for otherwise.
    async fn judge(
        &mut self,
        context: &Context,
        step: &Step,
        work: &StragglersStep,
        counts: Counts,
    ) -> Result<String, Effect> {
        let now = context.world.clock.now();
        let before = self.last.as_ref().map_or_else(|| Counts::recorded(&self.relayed), Counts::clone);
        let moved = counts.came != before.came || counts.carried != before.carried;
        if moved {
            self.quiet = (now, Duration::ZERO);
        }
        let unanswered = self.last.is_some() && counts.came > before.came && counts.answered == before.answered;
        self.unanswered = match (unanswered, counts.answered == before.answered) {
            (true, _) => self.unanswered + 1,
            (false, true) => self.unanswered,
            (false, false) => 0,
        };
        self.record(context, step, &counts, moved).await;
        self.last = Some(counts);
        let host = &work.relay.host;
        if self.unanswered >= UNANSWERED {
            let why = format!("clients come to {host}, are sent on, and get no answer");
            let hint = "see that the new side serves, and that no firewall of the host drops what it forwards; then `migrate apply`";
            return Err(failed(why, Some(hint.to_owned())));
        }
        let quiet = now.saturating_duration_since(self.quiet.0) + self.quiet.1;
        if quiet >= work.quiet_for {
            let time = text::duration(work.quiet_for);
            return Err(done(format!("nobody came to {host} for {time}; {}", self.relayed.told())));
        }
        let left =
            text::duration(Duration::from_secs(work.quiet_for.saturating_sub(quiet).as_secs_f64().ceil() as u64));
        Ok(format!("{left} more without anybody who comes to {host}; {}", self.relayed.told()))
    }

    /// Keeps who came: at once what is new of its kind, and now and then what goes on.
    async fn record(&mut self, context: &Context, step: &Step, counts: &Counts, moved: bool) {
        let day = TimeZone::UTC.to_datetime(context.world.clock.wall()).date();
        let Some(new) = counts.since(&self.relayed, day) else { return };
        let now = context.world.clock.now();
        let lately = self.recorded.is_some_and(|at| now.saturating_duration_since(at) < RECORDED_EVERY);
        let known = |client: &String| self.relayed.knows(day, client);
        if lately && moved && new.clients.keys().all(known) {
            return;
        }
        self.relayed.add(&new, context.world.clock.wall());
        self.recorded = Some(now);
        context.report(Event::Straggled { step: step.id.clone(), came: new }).await;
    }
}

async fn ask(context: &Context, step: &Step, relay: &RelayStep, script: &str) -> Result<Output, Error> {
    let host = context
        .world
        .hosts
        .get(&relay.host)
        .ok_or_else(|| Error::new(relay.host.as_str(), Kind::Config, "is not in the inventory any more"))?;
    let question = Command { script: format!("{PATH}{script}"), timeout: Some(TIMEOUT), ..Command::default() };
    context.query(step, host, &question).await
}

/// Status 0 where everything is as it was set, with what was counted; 1 where it is not there.
fn is_set(context: &Context, relay: &RelayStep) -> String {
    let table = relay.table(&context.run);
    let mut script = format!(
        "[ \"$(cat {FORWARD})\" = 1 ] || exit 1\nthere=$(nft -j list table ip {table} 2>/dev/null) || exit 1\n\
         case $there in *'\"hook\": \"postrouting\"'*'\"masquerade\"'*) ;; *) exit 2 ;; esac\n"
    );
    for route in &relay.routes {
        let (port, ip, new) = (route.port, route.to.ip(), route.to.port());
        script.push_str(&format!(
            "case $there in *'\"right\": {port}}}'*'\"dnat\": {{'*'\"addr\": \"{ip}\", \"port\": {new}}}'*) ;; *) exit 2 ;; esac\n"
        ));
    }
    script.push_str("printf '%s' \"$there\"\n");
    script
}

/// Status 0 where the table is not there, and nftables can tell.
fn is_gone(context: &Context, relay: &RelayStep) -> String {
    let table = relay.table(&context.run);
    format!("nft -j list tables >/dev/null || exit 3\n! nft -j list table ip {table} >/dev/null 2>&1\n")
}

/// As commands that run under a receipt: a start that is late must not outlive this controller.
fn commands(context: &Context, relay: &RelayStep) -> HookStep {
    let table = relay.table(&context.run);
    // In one transaction: nothing is between the old table and the new one.
    let none = format!("table ip {table}\ndelete table ip {table}\n");
    let work_dir = context.world.hosts.get(&relay.host).map_or("~/.migrate", |host| host.work_dir());
    // That the host did not forward before is kept beside the table, which somebody may take away, and counts until the next reboot.
    let begin = format!(
        "{PATH}W={}\ncase $W in \"~/\"*) W=$HOME/${{W#\"~/\"}} ;; esac\nF=$W/{table}.forwards\n\
         boot=$(cat /proc/sys/kernel/random/boot_id) && on=$(cat {FORWARD}) || exit 4\n\
         was_shut() {{ [ \"$(cat \"$F\" 2>/dev/null)\" = \"$boot\" ]; }}\n",
        shell::quote(work_dir)
    );
    let shut = RelayStep::shut();
    // Forwarding begins before anybody is sent on, and ends after: who comes in between would be swallowed. Meanwhile nobody else is forwarded.
    let only_shut = format!("nft -f - <<'END' || exit 5\n{none}table ip {table} {{\n{shut}}}\nEND\n");
    // What stands as it should keeps what it has counted.
    let set = format!(
        "{begin}( {} ) >/dev/null 2>&1 && exit 0\nshut=\n\
         if [ \"$on\" = 0 ] || was_shut; then\nshut='{shut}'\nmkdir -p \"$W\" && echo \"$boot\" >\"$F\" || exit 4\nfi\n\
         if [ \"$on\" = 0 ]; then\n{only_shut}echo 1 >{FORWARD} || exit 4\nfi\n\
         nft -f - <<END || exit 5\n{none}table ip {table} {{\n{}$shut\n}}\nEND\n",
        is_set(context, relay),
        relay.rules(),
    );
    let unset = format!(
        "{begin}nft -j list tables >/dev/null || exit 3\nif was_shut; then\n{only_shut}echo 0 >{FORWARD} || exit 4\nfi\n\
         nft -f - <<'END' || exit 5\n{none}END\nrm -f \"$F\"\n"
    );
    HookStep {
        host: relay.host.clone(),
        at: HookPoint::AfterDrain,
        run: set,
        timeout: TIMEOUT,
        idempotent: true,
        done_when: None,
        undo: Some(unset),
        env: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}
