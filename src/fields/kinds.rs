//! Closed lists of kinds: one line a kind, from which reading, naming and dispatch follow.
//!
//! Owns how a kind is found by its word in a file. Must never know any list: each stands in the room whose kinds it names.

use super::template::Use;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// Settings of one kind of something, as they are read from a file.
pub trait Settings: Sized {
    /// The word that names the kind in files, such as `haproxy`.
    const KEY: &'static str;
    /// Keys beside that word which belong to this kind, so that a misspelled kind is one problem and not several.
    const BESIDE: &'static [&'static str] = &[];

    /// Reads the value of the word, and what stands beside it in `map`. Templates are added to `uses`, to be judged when the hosts
    /// are known. `None` when it cannot be read, which is reported.
    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self>;
}

/// Declares a closed list of kinds: an enum over their settings, all of which implement [`Settings`] and the trait of the room.
///
/// ```text
/// kinds! {
///     /// A check, by kind.
///     pub enum Check: Probe {
///         Http(http::Http),
///         Tcp(tcp::Tcp),
///     }
/// }
/// ```
///
/// gives `Check::KINDS`, `Check::key`, `Check::read` (one kind of a mapping), `Check::read_value` (for mappings that give several) and
/// `Check::kind`, which is the trait of the room.
macro_rules! kinds {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident: $room:path { $( $(#[$one:meta])* $variant:ident($settings:ty) ),+ $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        $vis enum $name {
            $(
                $(#[$one])*
                #[doc = concat!("See [`", stringify!($settings), "`].")]
                $variant($settings)
            ),+
        }

        impl $name {
            /// The words for all kinds, in the order of the list.
            pub const KINDS: &'static [&'static str] =
                &[$( $(#[$one])* <$settings as $crate::fields::kinds::Settings>::KEY ),+];

            /// Reads the one kind that is given in a mapping; none, several and unknown ones are reported with the kinds there are.
            pub fn read(
                map: &$crate::yaml::map::Map<'_>,
                uses: &mut Vec<$crate::fields::template::Use>,
            ) -> Option<Self> {
                let Some(value) = map.kind(Self::KINDS) else {
                    $( $(#[$one])* map.ask(<$settings as $crate::fields::kinds::Settings>::BESIDE); )+
                    return None;
                };
                Self::read_value(value, map, uses)
            }

            /// Reads the kind under whose word `value` stands in `map`.
            pub fn read_value(
                value: $crate::yaml::reader::Value<'_>,
                map: &$crate::yaml::map::Map<'_>,
                uses: &mut Vec<$crate::fields::template::Use>,
            ) -> Option<Self> {
                $(
                    $(#[$one])*
                    if value.name() == <$settings as $crate::fields::kinds::Settings>::KEY {
                        return <$settings as $crate::fields::kinds::Settings>::read(value, map, uses).map(Self::$variant);
                    }
                )+
                None
            }

            /// The word for this kind.
            pub fn key(&self) -> &'static str {
                match self { $( $(#[$one])* Self::$variant(_) => <$settings as $crate::fields::kinds::Settings>::KEY ),+ }
            }

            /// What every kind of it can do.
            pub fn kind(&self) -> &dyn $room {
                match self { $( $(#[$one])* Self::$variant(settings) => settings ),+ }
            }
        }
    };
}

pub(crate) use kinds;

#[cfg(test)]
mod tests {
    use super::*;

    trait Sound {
        fn sound(&self) -> String;
    }

    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Bell(u64);

    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    pub struct Horn {
        text: String,
        loud: bool,
    }

    impl Settings for Bell {
        const KEY: &'static str = "bell";
        fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
            value.integer(1..=9).map(Self)
        }
    }

    impl Settings for Horn {
        const KEY: &'static str = "horn";
        const BESIDE: &'static [&'static str] = &["loud"];
        fn read(value: Value<'_>, map: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
            let loud = map.get("loud").and_then(|v| v.bool()).unwrap_or(false);
            value.line("a word", "horn: toot").map(|text| Self { text: text.value, loud })
        }
    }

    impl Sound for Bell {
        fn sound(&self) -> String {
            "ding ".repeat(self.0 as usize)
        }
    }

    impl Sound for Horn {
        fn sound(&self) -> String {
            if self.loud { self.text.to_uppercase() } else { self.text.clone() }
        }
    }

    kinds! {
        /// A signal, by kind.
        enum Signal: Sound {
            Bell(Bell),
            Horn(Horn),
        }
    }

    fn read(yaml: &str) -> (Option<Signal>, Vec<String>) {
        let source = crate::yaml::source::Source::from_text("signals.yaml", 0, yaml.to_owned());
        let sink = crate::yaml::diagnostic::Sink::default();
        let node = crate::yaml::node::parse(&source, &sink);
        let cx = crate::yaml::reader::Cx {
            source: &source,
            sink: &sink,
            home: None,
            dir: None,
            names_left: std::cell::Cell::new(9),
        };
        let read = node.and_then(|node| {
            Value::root(&cx, &node).map("signal", "bell: 1", |m| Signal::read(m, &mut Vec::new())).flatten()
        });
        (read, sink.into_diagnostics().iter().map(|d| d.message.clone()).collect())
    }

    #[test]
    fn a_kind_is_found_by_its_word_and_reads_what_stands_beside_it() {
        let (horn, problems) = read("horn: toot\nloud: true\n");
        assert_eq!(problems, Vec::<String>::new());
        let horn = horn.unwrap();
        assert_eq!((horn.key(), horn.kind().sound()), ("horn", "TOOT".to_owned()));
        assert_eq!(serde_json::to_string(&horn).unwrap(), r#"{"horn":{"text":"toot","loud":true}}"#);
        assert_eq!(read("bell: 2").0.unwrap().kind().sound(), "ding ding ");
    }

    #[test]
    fn an_unknown_kind_is_one_problem_that_names_the_kinds_there_are() {
        let (none, problems) = read("hron: toot\nloud: true\n");
        assert_eq!(none, None);
        assert_eq!(problems, ["unknown kind `hron` in signal"]);
        assert_eq!(Signal::KINDS, ["bell", "horn"]);
        assert_eq!(
            read("bell: 1\nhorn: x\n").1,
            ["signal has two kinds, `bell` and `horn`", "unknown key `horn` in signal"][..1]
        );
    }
}
