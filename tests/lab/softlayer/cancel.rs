//! Machines that are given back: requests to end what is billed, until they are reclaimed or taken back.

use serde_json::{Value, json};

use super::calls::{Answer, Call};
use super::refused::Refused;
use super::world::World;

const CUTOFF: &str = "2026-12-01T22:59:59-06:00";

fn done(value: Value) -> Result<Answer, Refused> {
    Ok(Answer { value, total: None })
}

fn refused(text: impl Into<String>) -> Result<Answer, Refused> {
    Err(Refused::new(500, "Public", text))
}

impl World {
    /// A change of what is billed; `None` for calls that only read, but for one date.
    pub(super) fn change_bills(&mut self, call: &Call) -> Option<Result<Answer, Refused>> {
        match (call.service.as_str(), call.method.as_str()) {
            ("Billing_Item", "cancelItem") => Some(self.cancel(call)),
            ("Billing_Item_Cancellation_Request", "void") => Some(self.void(call)),
            ("Billing_Item_Cancellation_Request", "getCancellationCutoffDate") => Some(done(json!(CUTOFF))),
            _ => None,
        }
    }

    /// The machine that is billed as this, or was until its end was asked for.
    fn billed_as(&mut self, item: u64) -> Option<&mut Value> {
        let requests = &self.cancellations;
        let of = |machine: &Value| machine["billingItem"]["id"].as_u64().or_else(|| hidden(requests, machine));
        self.hardware.iter_mut().chain(&mut self.guests).find(|machine| of(machine) == Some(item))
    }

    fn cancel(&mut self, call: &Call) -> Result<Answer, Refused> {
        let item = call.id.ok_or_else(|| Refused::not_found(0))?;
        let [Value::Bool(now), Value::Bool(_), Value::String(reason), note] = call.parameters.as_slice() else {
            return Err(Refused::internal());
        };
        let (ids, hides) = ((self.id(), self.id(), self.id()), self.hides_bills);
        let Some(machine) = self.billed_as(item) else { return Err(Refused::not_found(item)) };
        if let Some(ticket) = machine["openCancellationTicket"]["id"].as_u64() {
            let text = "A cancellation ticket already exists for this server. Please refer to ticket";
            return refused(format!("{text} {ticket}."));
        }
        if *now && machine["bareMetalInstanceFlag"] == 0 && machine["hourlyBillingFlag"] == false {
            return refused("This server cannot be cancelled immediately.");
        }
        let (request, own, ticket) = ids;
        let bill = machine["billingItem"].take();
        let ends = bill["nextBillDate"].clone();
        let mut bill = bill;
        bill["cancellationDate"] = ends.clone();
        machine["openCancellationTicket"] = json!({ "id": ticket, "statusId": 1001, "title": "Cancellation" });
        let named = json!({ "id": item, "categoryCode": bill["categoryCode"], "cancellationDate": ends, "pendingCancellationFlag": true });
        let machine_id = machine["id"].clone();
        if hides {
            machine.as_object_mut().expect("an object").remove("billingItem");
        } else {
            machine["billingItem"] = bill;
        }
        self.cancellations.push(json!({
            "id": request, "ticketId": ticket, "accountId": 278444, "createDate": "2026-11-20T06:53:17-06:00", "notes": note,
            "itemCount": 1, "status": { "id": 4, "keyName": "APPROVED", "name": "Approved" }, "reason": reason, "machine": machine_id,
            "user": { "id": 1, "firstName": "Ada", "lastName": "Ops" },
            "items": [{
                "id": own, "cancellationRequestId": request, "billingItemId": item, "immediateCancellationFlag": now,
                "scheduledCancellationDate": ends, "serviceReclaimStatusCode": "NOT_COMPLETED", "billingItem": named,
            }],
        }));
        done(json!(true))
    }

    fn void(&mut self, call: &Call) -> Result<Answer, Refused> {
        let id = call.id.ok_or_else(|| Refused::not_found(0))?;
        let past = self.is_past_cutoff;
        let request = self.cancellations.iter_mut().find(|request| request["id"] == id);
        let request = request.ok_or_else(|| Refused::not_found(id))?;
        if past || request["status"]["name"] != "Approved" {
            return refused("This cancellation request cannot be voided. Please contact sales.");
        }
        request["status"] = json!({ "id": 6, "keyName": "VOID", "name": "Void" });
        let machine = request["machine"].clone();
        for found in self.hardware.iter_mut().chain(&mut self.guests).filter(|found| found["id"] == machine) {
            found["openCancellationTicket"] = Value::Null;
            found["billingItem"]["cancellationDate"] = Value::Null;
        }
        done(json!(true))
    }

    /// SoftLayer takes everything whose end was asked for.
    pub fn reclaim(&mut self) {
        for request in self.cancellations.iter_mut().filter(|request| request["status"]["name"] == "Approved") {
            request["status"] = json!({ "id": 5, "keyName": "COMPLETE", "name": "Complete" });
            request["items"][0]["serviceReclaimStatusCode"] = json!("COMPLETED");
            let machine = request["machine"].clone();
            self.hardware.retain(|found| found["id"] != machine);
            self.guests.retain(|found| found["id"] != machine);
        }
    }
}

/// What a machine was billed as whose bill is not shown any more.
fn hidden(requests: &[Value], machine: &Value) -> Option<u64> {
    let own = |request: &&Value| request["machine"] == machine["id"] && request["status"]["name"] == "Approved";
    requests.iter().find(own)?["items"][0]["billingItemId"].as_u64()
}
