//! Puts the real world together: SSH, directors, checks, the copy engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::environment::{Environment, ProcessSecrets};
use super::open_run::OpenRun;
use crate::alerts::{Alertmanager, Silences};
use crate::check::{Checker, Health};
use crate::clock::SystemClock;
use crate::copy::Copier;
use crate::copy::controller::{self, Agents};
use crate::engine::World;
use crate::gate::Asker;
use crate::host::Hosts;
use crate::metrics::Reader;
use crate::model::{CONTROLLER, Host};
use crate::outside::Error;
use crate::provider::{Connected, Providers};
use crate::redfish::{self, Bmcs};
use crate::secret::Secrets;
use crate::spec::{Inventory, Spec};
use crate::ssh::{self, OrHere, Pool};
use crate::text::escape;
use crate::traffic::{Context, Director, OnHosts, OverSsh};

/// Everything that a plan needs to talk to.
pub struct Connections {
    /// What can be asked of hosts.
    pub remote: Arc<dyn Hosts>,
    /// Trees between hosts.
    pub copier: Arc<dyn Copier>,
    /// Checks.
    pub health: Arc<dyn Health>,
    /// Directors by name; those that cannot be used say why.
    pub directors: BTreeMap<String, Result<Arc<dyn Director>, Error>>,
    /// Numbers of gates and checks.
    pub metrics: Arc<Reader>,
    /// Whom hosts are rented from.
    pub providers: Arc<dyn Providers>,
    /// Silences of alerts.
    pub silences: Arc<dyn Silences>,
    /// Management controllers of hosts.
    pub bmcs: Arc<dyn Bmcs>,
    /// Secrets.
    pub secrets: Arc<dyn Secrets>,
}

impl Connections {
    /// The world that an engine acts on.
    pub fn into_world(self, mut hosts: BTreeMap<String, Host>, run: &OpenRun) -> World {
        let controller = Host::controller(run.receipts.display().to_string());
        hosts.insert(controller.name.clone(), controller);
        World {
            hosts: Arc::new(hosts),
            remote: self.remote,
            places: Arc::default(),
            copier: self.copier,
            health: self.health,
            conditions: Arc::new(Asker::new(self.metrics)),
            providers: self.providers,
            silences: self.silences,
            directors: Arc::new(self.directors.into_iter().filter_map(|(name, d)| Some((name, d.ok()?))).collect()),
            secrets: self.secrets,
            clock: Arc::new(SystemClock),
            guard: Arc::clone(&run.lease) as _,
        }
    }
}

/// What SSH needs to know of this process.
pub fn ssh(environment: &Environment) -> ssh::Environment {
    ssh::Environment {
        home: environment.home.clone(),
        ssh_auth_sock: environment.ssh_auth_sock.clone(),
        user: environment.user.clone(),
        ssh_program: Some("ssh".into()),
        config_file: None,
    }
}

/// The agents that hosts get.
pub fn agents(environment: &Environment) -> anyhow::Result<Agents> {
    let itself = std::env::current_exe().context("this program cannot be found, and hosts may need a copy of it")?;
    match &environment.agents {
        None => Ok(Agents::of_this_program(itself)),
        Some(dir) => Agents::of_directory(dir, itself)
            .with_context(|| format!("cannot use the agents in {}", escape(dir.as_os_str().as_encoded_bytes(), 200))),
    }
}

/// Hosts by SSH, and what directors need of the world.
fn reach(inventory: &Inventory, environment: &Environment, secrets: &Arc<dyn Secrets>) -> (Pool, Context) {
    let hosts = inventory.hosts.clone();
    let pool = Pool::with_secrets(ssh(environment), hosts.clone(), ssh::Options::default(), Arc::clone(secrets));
    let context = Context {
        secrets: Arc::clone(secrets),
        dial: Arc::new(OverSsh::new(pool.clone(), hosts.clone())),
        commands: Arc::new(OnHosts::new(Arc::new(pool.clone()), hosts)),
    };
    (pool, context)
}

/// Hosts of an inventory by SSH.
pub fn hosts(inventory: &Inventory, environment: &Environment) -> Pool {
    let secrets: Arc<dyn Secrets> = Arc::new(ProcessSecrets);
    reach(inventory, environment, &secrets).0
}

/// What directors of an inventory need of the world.
pub fn surroundings(inventory: &Inventory, environment: &Environment) -> Context {
    let secrets: Arc<dyn Secrets> = Arc::new(ProcessSecrets);
    reach(inventory, environment, &secrets).1
}

/// Connects nothing yet: sessions are made when they are first used.
pub fn connect(spec: &Spec, environment: &Environment) -> anyhow::Result<Connections> {
    let secrets: Arc<dyn Secrets> = Arc::new(ProcessSecrets);
    let (pool, context) = reach(&spec.inventory, environment, &secrets);
    let directors = spec.inventory.directors.iter();
    let directors = directors.map(|(name, config)| (name.clone(), config.kind().connect(name, &context))).collect();
    let copier: Arc<dyn Copier> = Arc::new(controller::Engine::new(Arc::new(pool.clone()), agents(environment)?));
    let remote: Arc<dyn Hosts> = Arc::new(OrHere::new(pool, CONTROLLER));
    let providers = Arc::new(Connected { secrets: Arc::clone(&secrets) });
    let bmcs = Arc::new(redfish::Connected { secrets: Arc::clone(&secrets) });
    let metrics = Arc::new(Reader::new(Arc::clone(&secrets)));
    let health: Arc<dyn Health> =
        Arc::new(Checker::new(Arc::clone(&remote), Arc::clone(&metrics), Arc::clone(&secrets)));
    let silences = Arc::new(Alertmanager::new(Arc::clone(&secrets)));
    Ok(Connections { providers, bmcs, remote, copier, health, directors, metrics, silences, secrets })
}
