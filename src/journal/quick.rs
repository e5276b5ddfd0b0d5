//! Events as journals have them: their name comes first, so that nothing is kept aside until it is known.
//!
//! Owns reading what most records of a journal are without a detour. Must never read another event than the one that was written.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};

use crate::event::{Before, Figures, ReadEvent, StepResult};

/// An event.
pub fn event<'de, D: Deserializer<'de>>(from: D) -> Result<ReadEvent<'de>, D::Error> {
    from.deserialize_map(EventVisitor)
}

#[derive(Deserialize)]
struct Intent<'a> {
    #[serde(borrow)]
    step: Cow<'a, str>,
    attempt: u32,
    undo: bool,
    #[serde(default)]
    before: Option<Before>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    step: Cow<'a, str>,
    attempt: u32,
    undo: bool,
    #[serde(deserialize_with = "result")]
    result: StepResult,
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = ReadEvent<'de>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ReadEvent<'de>, A::Error> {
        let named = Named::begin(map, "event")?;
        match &*named.name {
            "intent" => {
                let Intent { step, attempt, undo, before } = named.rest()?;
                Ok(ReadEvent::Intent { step, attempt, undo, before })
            }
            "outcome" => {
                let Outcome { step, attempt, undo, result } = named.rest()?;
                Ok(ReadEvent::Outcome { step, attempt, undo, result })
            }
            _ => named.all().map(Box::new).map(ReadEvent::Other),
        }
    }
}

/// A word that is looked at, and not kept.
#[derive(Deserialize)]
struct Word<'a>(#[serde(borrow)] Cow<'a, str>);

fn result<'de, D: Deserializer<'de>>(from: D) -> Result<StepResult, D::Error> {
    from.deserialize_map(ResultVisitor)
}

#[derive(Deserialize)]
struct Done {
    evidence: String,
    millis: u64,
    #[serde(default)]
    figures: Option<Figures>,
}

struct ResultVisitor;

impl<'de> Visitor<'de> for ResultVisitor {
    type Value = StepResult;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the result of a step")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StepResult, A::Error> {
        let named = Named::begin(map, "is")?;
        match &*named.name {
            "done" => {
                let Done { evidence, millis, figures } = named.rest()?;
                Ok(StepResult::Done { evidence, millis, figures })
            }
            _ => named.all(),
        }
    }
}

/// A map of which the first entry, which says what it is, has been read.
struct Named<'de, A> {
    tag: &'static str,
    name: Cow<'de, str>,
    map: A,
}

impl<'de, A: MapAccess<'de>> Named<'de, A> {
    fn begin(mut map: A, tag: &'static str) -> Result<Self, A::Error> {
        match map.next_key::<Word<'de>>()? {
            Some(Word(key)) if key == tag => Ok(Self { tag, name: map.next_value::<Word<'de>>()?.0, map }),
            _ => Err(A::Error::custom(format!("it does not begin with `{tag}`"))),
        }
    }

    /// What stands behind the name.
    fn rest<T: Deserialize<'de>>(self) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(self.map))
    }

    /// The name and what stands behind it.
    fn all<T: Deserialize<'de>>(self) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(Whole { entry: Next::Key(self.tag, self.name), map: self.map }))
    }
}

/// A map from its start again.
struct Whole<'de, A> {
    entry: Next<'de>,
    map: A,
}

/// What of the first entry comes next.
enum Next<'de> {
    Key(&'static str, Cow<'de, str>),
    Value(Cow<'de, str>),
    Over,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Whole<'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match std::mem::replace(&mut self.entry, Next::Over) {
            Next::Key(tag, name) => {
                self.entry = Next::Value(name);
                let key: StrDeserializer<'_, A::Error> = tag.into_deserializer();
                seed.deserialize(key).map(Some)
            }
            Next::Value(_) | Next::Over => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match std::mem::replace(&mut self.entry, Next::Over) {
            Next::Value(name) => seed.deserialize(name.into_deserializer()),
            Next::Key(..) | Next::Over => self.map.next_value_seed(seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{Event, Operator};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Quick<'a>(#[serde(borrow, deserialize_with = "event")] ReadEvent<'a>);

    fn by() -> Operator {
        Operator { user: "ada".into(), host: "desk".into(), pid: 7 }
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let (text, number) = (any::<String>(), any::<u32>());
        (0..9_usize, text, number, any::<bool>()).prop_map(|(kind, text, attempt, undo)| {
            let (step, hint) = (format!("web/{text}"), undo.then(|| text.clone()));
            let outcome = |result| Event::Outcome { step: step.clone(), attempt, undo, result };
            match kind {
                0 => Event::Intent { step, attempt, undo, before: None },
                1 => Event::Intent { step, attempt, undo, before: Some(Before::Position(text)) },
                2 => Event::Intent { step, attempt, undo, before: Some(Before::Ttl(Duration::from_secs(60))) },
                3 => {
                    let figures = undo.then(|| Figures::Carried { files: 1, bytes: attempt.into() });
                    outcome(StepResult::Done { evidence: text, millis: attempt.into(), figures })
                }
                4 => outcome(StepResult::Failed { why: text, hint }),
                5 => outcome(StepResult::Unknown { why: text, hint }),
                6 => Event::Held { step: hint, why: text, hint: None, stuck: undo },
                7 => Event::Resumed { by: by() },
                _ => Event::Finished,
            }
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(written in any_event()) {
            let json = serde_json::to_string(&written).unwrap();
            prop_assert_eq!(Event::from(serde_json::from_str::<Quick<'_>>(&json).unwrap().0), written);
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let intent = r#""step":"a","attempt":1,"undo":false"#;
        for (json, why) in [
            ("{}".to_owned(), "does not begin with `event`"),
            (format!("{{{intent},\"event\":\"intent\"}}"), "does not begin with `event`"),
            (r#"{"event":"intent","step":"a"}"#.to_owned(), "missing field `attempt`"),
            (r#"{"event":"dance"}"#.to_owned(), "unknown variant `dance`"),
            (r#"{"event":1}"#.to_owned(), "invalid type"),
        ] {
            let error = serde_json::from_str::<Quick<'_>>(&json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
