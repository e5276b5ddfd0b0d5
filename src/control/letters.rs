//! Orders and questions by way of the store, where the controller is on another machine: the same requests and answers as on its socket, but
//! that nobody is followed so. Records are followed in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::{ControlError, PATIENCE, ask};
use super::server::{Served, obey};
use super::{Answer, Request};
use crate::store::{Letters, RunStore};

/// How long one look for letters or answers takes; a controller that ends waits for no look.
const LOOK: Duration = Duration::from_secs(1);

/// Answers letters from now on until it is dropped.
pub struct Postman(Arc<AtomicBool>);

impl Drop for Postman {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers letters where the store has any. On a thread of its own: to look for them waits.
pub fn answer_letters(served: &Served) -> Option<Postman> {
    let letters = served.store.letters(&served.run)?;
    let (served, over) = (served.clone(), Arc::new(AtomicBool::new(false)));
    let ends = Arc::clone(&over);
    let work = move || {
        while !ends.load(Ordering::Relaxed) {
            match letters.next(LOOK) {
                Ok(found) => found.iter().for_each(|(number, letter)| reply(letters.as_ref(), &served, number, letter)),
                // A cluster in trouble: whoever waits for an answer looks longer than that takes.
                Err(_) => std::thread::sleep(LOOK),
            }
        }
    };
    // Without it orders from other machines are not answered, which they are told.
    std::thread::Builder::new().name("letters".into()).spawn(work).ok()?;
    Some(Postman(over))
}

fn reply(letters: &dyn Letters, served: &Served, number: &str, letter: &[u8]) {
    let answer = match serde_json::from_slice(letter) {
        Ok(Request::Follow { .. }) => Answer::Refused("records are followed in the store".to_owned()),
        Ok(Request::Waiting) => Answer::Waiting(served.feed.last_words()),
        Ok(Request::Order { order, by }) => obey(&served.orders, order, by),
        Err(e) => Answer::Refused(format!("the request cannot be read: {e}")),
    };
    // Not kept, it is asked for again: an order that was obeyed is refused the second time, or changes nothing.
    let _ = serde_json::to_vec(&answer).map(|bytes| letters.answer(number, &bytes));
}

/// Asks the controller of a run, wherever it is.
pub fn ask_run(store: &dyn RunStore, run: &str, request: &Request) -> Result<Answer, ControlError> {
    match ask(&store.socket(run), request) {
        Err(ControlError::NobodyThere { path }) if store.is_live(run) => match store.letters(run) {
            Some(letters) => by_letter(store, run, letters.as_ref(), request),
            None => Err(ControlError::NobodyThere { path }),
        },
        asked => asked,
    }
}

fn by_letter(
    store: &dyn RunStore,
    run: &str,
    letters: &dyn Letters,
    request: &Request,
) -> Result<Answer, ControlError> {
    let lost = |e: &dyn std::fmt::Display| ControlError::Lost(e.to_string());
    let number = letters.leave(&serde_json::to_vec(request).map_err(|e| lost(&e))?).map_err(|e| lost(&e))?;
    let began = Instant::now();
    loop {
        let answer = letters.answer_to(&number, LOOK).map_err(|e| lost(&e))?;
        if let Some(answer) = answer {
            return serde_json::from_slice(&answer).map_err(|e| lost(&e));
        }
        let gone = !store.is_live(run);
        if !gone && began.elapsed() < PATIENCE {
            continue;
        }
        return match letters.take_back(&number).map_err(|e| lost(&e))? {
            true if gone => Err(ControlError::NobodyThere { path: store.place(run) }),
            true => Err(lost(&"it gave none in time")),
            // It was just being answered.
            false => match letters.answer_to(&number, LOOK).map_err(|e| lost(&e))? {
                Some(answer) => serde_json::from_slice(&answer).map_err(|e| lost(&e)),
                None => Err(lost(&"its answer was not kept")),
            },
        };
    }
}
