//! SoftLayer (IBM Cloud Classic): machines are given back by cancelling their billing items.
//!
//! Reads the machine by its id before anything else, and does nothing unless id, name and addresses are those of the inventory. Must never
//! take a machine from a list, since a list can hold any, and never send a cancellation while there is one.

mod kind;
mod requests;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::{Value, json};

use self::requests::Request;
pub use self::settings::Settings;
use self::settings::When;
use super::{Leaving, Machine, Prospect, Provider, Standing};
use crate::outside::{Error, Kind};
use crate::secret::Secrets;
use crate::softlayer::{Api, Call, Failed, Why};
use crate::text::escape;

/// Machines asked for at the same time when it is looked ahead.
const PARALLEL: usize = 8;

/// Every field by name: what a mask does not name may come or not.
const MASK: &str =
    "mask[id,hostname,domain,fullyQualifiedDomainName,primaryIpAddress,primaryBackendIpAddress,hourlyBillingFlag,
    billingItem[id,hostName,domainName,cancellationDate,nextBillDate],openCancellationTicket[id],
    activeTransaction[id,transactionStatus[name,friendlyName]]]";

/// An account from which machines are given back.
pub(super) struct Account {
    pub settings: Settings,
    pub secrets: Arc<dyn Secrets>,
}

/// A machine as SoftLayer has it now.
struct Row(Value);

impl Row {
    fn text(&self, pointer: &str) -> Option<String> {
        match self.0.pointer(pointer)? {
            Value::String(text) => Some(escape(text.as_bytes(), 200)).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn number(&self, pointer: &str) -> Option<u64> {
        self.text(pointer)?.parse().ok()
    }

    /// What SoftLayer does with it just now.
    fn transaction(&self) -> Option<String> {
        self.0.get("activeTransaction").filter(|t| t.is_object())?;
        let status = "/activeTransaction/transactionStatus";
        let name = self.text(&format!("{status}/friendlyName")).or_else(|| self.text(&format!("{status}/name")));
        Some(name.unwrap_or_else(|| "a transaction".to_owned()))
    }

    fn is_hourly(&self) -> bool {
        let flag = self.0.get("hourlyBillingFlag");
        flag.is_some_and(|flag| flag.as_bool().unwrap_or_else(|| flag.as_u64().is_some_and(|n| n != 0)))
    }
}

impl Account {
    fn api(&self) -> Result<Api, Error> {
        Api::new("SoftLayer", self.settings.access.login(self.secrets.as_ref())?)
    }

    /// The machine as it is now; `None` where there is none of its id.
    async fn row(&self, api: &Api, machine: &Machine) -> Result<Option<Row>, Error> {
        let service = kind::SERVICES.iter().find(|(word, _)| *word == machine.kind).map(|(_, service)| *service);
        let (Some(service), Ok(id)) = (service, machine.id.parse()) else {
            return Err(Error::new(api.at(), Kind::Config, format!("{machine} can be no machine of SoftLayer")));
        };
        let call = Call { service, id: Some(id), method: "getObject", mask: Some(MASK), ..Call::default() };
        match api.read(&call).await {
            Ok(value) => is_meant(api, machine, Row(value)).map(Some),
            Err(Failed { why: Why::Missing, .. }) => Ok(None),
            Err(failed) => Err(failed.error),
        }
    }

    /// How it stands, with the machine where there is one and the newest cancellation where there is one.
    async fn standing(&self, api: &Api, machine: &Machine) -> Result<(Standing, Option<Row>, Option<Request>), Error> {
        let row = self.row(api, machine).await?;
        let requests = Request::all(api).await?;
        Self::judge(api, machine, row, &requests)
    }

    /// The same of what has been read.
    fn judge(
        api: &Api,
        machine: &Machine,
        row: Option<Row>,
        requests: &[Value],
    ) -> Result<(Standing, Option<Row>, Option<Request>), Error> {
        let bill = row.as_ref().and_then(|row| row.number("/billingItem/id"));
        let bill = bill.or_else(|| machine.bill.as_ref()?.parse().ok());
        let ticket = row.as_ref().and_then(|row| row.number("/openCancellationTicket/id"));
        let request = bill.and_then(|bill| Request::newest(requests, bill));
        let standing = match (&row, &request, ticket) {
            (None, Some(request), _) => Standing::Gone(request.leaving()),
            (None, None, _) => {
                let what = format!("there is no {machine}, and no cancellation of it is known");
                let hint = "see at SoftLayer what became of it, and that this user may see it";
                return Err(Error::new(api.at(), Kind::Refused, what).hint(hint));
            }
            (Some(_), Some(request), _) if request.is_reclaimed() => Standing::Gone(request.leaving()),
            (Some(_), Some(request), _) => Standing::Leaving(request.leaving()),
            (Some(row), None, Some(ticket)) => Standing::Leaving(Leaving {
                by: format!("ticket {ticket}"),
                status: "open".to_owned(),
                ends: row.text("/billingItem/cancellationDate"),
            }),
            (Some(row), None, None) if row.number("/billingItem/id").is_none() => {
                let what = format!("{machine} has no billing item, and no cancellation of it is known");
                let hint = "see at SoftLayer whether it is cancelled already, and that this user may see its bill";
                return Err(Error::new(api.at(), Kind::Refused, what).hint(hint));
            }
            (Some(_), None, None) => Standing::Rented,
        };
        Ok((standing, row, request))
    }

    /// The API, and all cancellations of the account.
    async fn known(&self) -> Result<(Api, Vec<Value>), Error> {
        let api = self.api()?;
        let requests = Request::all(&api).await?;
        Ok((api, requests))
    }

    async fn look_ahead(&self, api: &Api, requests: &[Value], machine: &Machine) -> Result<Prospect, Error> {
        let row = self.row(api, machine).await?;
        let (standing, row, _) = Self::judge(api, machine, row, requests)?;
        Ok(self.prospect(api, machine, standing, row.as_ref()))
    }

    fn prospect(&self, api: &Api, machine: &Machine, standing: Standing, row: Option<&Row>) -> Prospect {
        let transaction = row.and_then(Row::transaction);
        let billed = row.map(|row| {
            let by = if row.is_hourly() { "hour" } else { "month" };
            let next = row.text("/billingItem/nextBillDate").map(|date| format!(", next bill {date}"));
            format!("billed by the {by}{}", next.unwrap_or_default())
        });
        // What is cancelled later may have no transaction any more; everything else is as it will be.
        let against = match (&standing, row) {
            (Standing::Rented, Some(row)) => self.item(api, machine, row).err().map(|e| e.what),
            _ => None,
        };
        let passing = transaction.map(|what| format!("SoftLayer is working on it ({what})"));
        Prospect { standing, billed: billed.unwrap_or_default(), passing, against }
    }

    /// Its billing item, where that can be cancelled as it is wanted.
    fn item(&self, api: &Api, machine: &Machine, row: &Row) -> Result<u64, Error> {
        let refused = |what: String| Error::new(api.at(), Kind::Refused, what);
        let now = self.settings.when == When::Immediately;
        if now && machine.kind == "hardware" && !row.is_hourly() {
            return Err(refused(format!("{machine} is billed by the month and ends at its next bill alone")));
        }
        let item = row.number("/billingItem/id").ok_or_else(|| refused(format!("{machine} has no billing item")))?;
        if machine.bill.as_ref().is_some_and(|bill| *bill != item.to_string()) {
            let known = machine.bill.as_deref().unwrap_or_default();
            return Err(refused(format!("{machine} is billed as {item}, and as {known} in the inventory")).hint(ANEW));
        }
        Ok(item)
    }

    /// The cancellation, where nothing speaks against it.
    fn call(&self, api: &Api, machine: &Machine, row: &Row, note: &str) -> Result<Call, Error> {
        let refused = |what: String| Error::new(api.at(), Kind::Refused, what);
        if let Some(transaction) = row.transaction() {
            return Err(refused(format!("{machine}: SoftLayer is working on it ({transaction})"))
                .hint("wait until that has ended, then `migrate apply` again"));
        }
        let (item, now) = (self.item(api, machine, row)?, self.settings.when == When::Immediately);
        let note = [Some(note), self.settings.note.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("; ");
        Ok(Call {
            service: "Billing_Item",
            id: Some(item),
            method: "cancelItem",
            parameters: vec![json!(now), json!(false), json!(self.settings.reason), json!(note)],
            ..Call::default()
        })
    }
}

/// What to do where SoftLayer and the inventory do not agree on what a machine is.
const ANEW: &str = "nothing was cancelled; `migrate inventory show` tells what SoftLayer says now";

/// Refuses a machine that is another than the inventory has.
fn is_meant(api: &Api, machine: &Machine, row: Row) -> Result<Row, Error> {
    let is = |pointer: &str, wanted: &str| row.text(pointer).is_some_and(|found| found.eq_ignore_ascii_case(wanted));
    let has = |address: &String| is("/primaryIpAddress", address) || is("/primaryBackendIpAddress", address);
    let found = |pointer: &str| row.text(pointer).unwrap_or_else(|| "nothing".to_owned());
    let other = if !is("/id", &machine.id) {
        Some(format!("has the id {}", found("/id")))
    } else if !is("/fullyQualifiedDomainName", &machine.name) {
        Some(format!("is called {}", found("/fullyQualifiedDomainName")))
    } else if let Some(address) = machine.addresses.iter().find(|address| !has(address)) {
        let (private, public) = (found("/primaryBackendIpAddress"), found("/primaryIpAddress"));
        Some(format!("has the addresses {private} and {public}, and not {address}"))
    } else {
        let billed = row.text("/billingItem/hostName").filter(|billed| !is("/hostname", billed));
        billed.map(|billed| format!("is billed under the name {billed}"))
    };
    match other {
        None => Ok(row),
        Some(other) => {
            Err(Error::new(api.at(), Kind::Refused, format!("what is {machine} in the inventory {other}")).hint(ANEW))
        }
    }
}

#[async_trait]
impl Provider for Account {
    async fn look(&self, machine: &Machine) -> Result<Standing, Error> {
        Ok(self.standing(&self.api()?, machine).await?.0)
    }

    async fn survey(&self, machines: &[Machine]) -> Vec<Result<Prospect, Error>> {
        let (api, requests) = match self.known().await {
            Ok(known) => known,
            Err(e) => return machines.iter().map(|_| Err(e.clone())).collect(),
        };
        let mut asked = Vec::new();
        for machine in machines {
            asked.push(self.look_ahead(&api, &requests, machine).boxed());
        }
        stream::iter(asked).buffered(PARALLEL).collect().await
    }

    async fn cancel(&self, machine: &Machine, note: &str) -> Result<Leaving, Error> {
        let api = self.api()?;
        let (standing, row, _) = self.standing(&api, machine).await.map_err(Error::nothing_changed)?;
        let row = match (standing, row) {
            (Standing::Leaving(leaving) | Standing::Gone(leaving), _) => return Ok(leaving),
            (Standing::Rented, Some(row)) => row,
            (Standing::Rented, None) => return Err(Error::new(api.at(), Kind::Refused, format!("no {machine}"))),
        };
        let call = self.call(&api, machine, &row, note)?;
        let wrote = match api.write(&call).await {
            Ok(Value::Bool(true)) => None,
            Ok(other) => {
                let said = escape(other.to_string().as_bytes(), 100);
                let what = format!("{}: it answers {said} where `true` means that it is done", call.name());
                Some(Error::new(api.at(), Kind::Lost, what))
            }
            Err(failed) => Some(failed.error),
        };
        // Whatever the answer was: what counts is what is there now, also where somebody else was faster.
        match (self.standing(&api, machine).await, wrote) {
            (Ok((Standing::Leaving(leaving) | Standing::Gone(leaving), ..)), _) => Ok(leaving),
            (_, Some(failed)) => Err(failed),
            (Ok((Standing::Rented, ..)), None) => {
                let what = format!("{machine}: the cancellation was accepted and cannot be found");
                Err(Error::new(api.at(), Kind::Disagrees, what)
                    .hint("see `slcli order cancelation`; `migrate apply` looks again before it asks again"))
            }
            (Err(e), None) => {
                let what = format!("{machine}: the cancellation was accepted and cannot be read back: {}", e.what);
                Err(Error::new(api.at(), Kind::Lost, what))
            }
        }
    }

    async fn void(&self, machine: &Machine) -> Result<(), Error> {
        let api = self.api()?;
        let (standing, _, request) = self.standing(&api, machine).await.map_err(Error::nothing_changed)?;
        let refused = |what: String| Error::new(api.at(), Kind::Refused, what);
        let leaving = match standing {
            Standing::Rented => return Ok(()),
            Standing::Gone(gone) => return Err(refused(format!("{machine} is gone: {gone}"))),
            Standing::Leaving(leaving) => leaving,
        };
        let Some(request) = request else {
            return Err(refused(format!("{machine}: only SoftLayer's people can take {} back", leaving.by))
                .hint("ask them in that ticket"));
        };
        let call = Call {
            service: requests::SERVICE,
            id: Some(request.id),
            method: "void",
            parameters: vec![json!(true)],
            ..Call::default()
        };
        let wrote = api.write(&call).await;
        match (self.standing(&api, machine).await, wrote) {
            (Ok((Standing::Rented, ..)), _) => Ok(()),
            (_, Err(failed)) => Err(failed
                .error
                .hint("after the cutoff, and often once it is approved, only SoftLayer's sales can do it")),
            (Ok(_), Ok(_)) => {
                Err(Error::new(api.at(), Kind::Disagrees, format!("{machine}: it is taken back, and still there")))
            }
            (Err(e), Ok(_)) => Err(e),
        }
    }
}
