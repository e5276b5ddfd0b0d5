//! The formats in which commands show things: which there are, and which command knows which. The one place that tells them apart.

use serde::Serialize;

use super::junit::{self, Suite};
use super::remarks::{self, Remark};
use super::{Json, Lines};
use crate::event::{RunState, Watch};

/// How something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For a comment on a pull request, or a post-mortem.
    Markdown,
    /// A page of its own, for browsers and paper.
    Html,
    /// For test reports of CI.
    Junit,
    /// Beside the lines of files, where GitHub shows a change.
    Github,
    /// The same for GitLab.
    Gitlab,
    /// As inventories are written.
    Yaml,
    /// For spreadsheets.
    Csv,
}

/// What commands show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What a plan would do.
    Plan,
    /// Problems of files.
    Problems,
    /// A run, or anything else, as it goes on.
    Progress,
    /// Where runs stand, what they wait for, who works on what, whether records are what they were.
    Report,
    /// Hosts of an inventory.
    Hosts,
    /// What a plan does to the bill.
    Cost,
    /// What a run was.
    Chronicle,
}

/// A format: its name and what it is for.
const FORMATS: &[(Format, &str, &str)] = &[
    (Format::Text, "text", "For people"),
    (Format::Json, "json", "For programs"),
    (Format::Markdown, "markdown", "For a comment on a pull request, or a post-mortem"),
    (Format::Html, "html", "A page of its own, for browsers and paper"),
    (Format::Junit, "junit", "JUnit XML, for test reports of CI"),
    (Format::Github, "github", "Annotations of files, in the log of a GitHub workflow"),
    (Format::Gitlab, "gitlab", "Annotations of files, as a code quality report of GitLab"),
    (Format::Yaml, "yaml", "As inventories are written, to be kept"),
    (Format::Csv, "csv", "For spreadsheets"),
];

/// Which topic is known in which formats.
const KNOWN: &[(Topic, &[Format])] = &[
    (Topic::Plan, &[Format::Text, Format::Json, Format::Markdown, Format::Junit, Format::Github, Format::Gitlab]),
    (Topic::Problems, &[Format::Text, Format::Json, Format::Junit, Format::Github, Format::Gitlab]),
    (Topic::Progress, &[Format::Text, Format::Json]),
    (Topic::Report, &[Format::Text, Format::Json]),
    (Topic::Cost, &[Format::Text, Format::Json, Format::Csv]),
    (Topic::Chronicle, &[Format::Html, Format::Markdown, Format::Json]),
    (Topic::Hosts, &[Format::Text, Format::Json, Format::Yaml, Format::Csv]),
];

impl Topic {
    /// Name and purpose of each format that it is known in.
    pub fn formats(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let known = KNOWN.iter().filter(move |(topic, _)| *topic == self).flat_map(|(_, formats)| formats.iter());
        known.flat_map(|format| FORMATS.iter().filter(move |(f, ..)| f == format).map(|(_, name, help)| (*name, *help)))
    }
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|(_, n, _)| *n == name).map(|(format, ..)| *format)
    }

    /// Whether it tells CI what is wrong with files, which then may be all that there is to tell.
    pub fn is_for_ci(self) -> bool {
        matches!(self, Self::Junit | Self::Github | Self::Gitlab)
    }

    /// Whether people read it as it comes, so that it may ask and tell between what is asked for.
    pub fn is_for_people(self) -> bool {
        match self {
            Self::Text => true,
            Self::Json
            | Self::Markdown
            | Self::Html
            | Self::Junit
            | Self::Github
            | Self::Gitlab
            | Self::Yaml
            | Self::Csv => false,
        }
    }

    /// One thing in this format.
    pub fn render<T: Show + ?Sized>(self, shown: &T, style: Style) -> Result<String, serde_json::Error> {
        match self {
            Self::Text => Ok(shown.text(style)),
            Self::Json => Ok(format!("{}\n", serde_json::to_string_pretty(shown)?)),
            Self::Markdown => Ok(shown.markdown()),
            Self::Html => Ok(shown.html()),
            Self::Junit => Ok(junit::report(&shown.suites())),
            Self::Github => Ok(remarks::github(&shown.remarks())),
            Self::Gitlab => remarks::gitlab(&shown.remarks()),
            Self::Yaml => Ok(shown.yaml()),
            Self::Csv => Ok(shown.csv()),
        }
    }

    /// The same where JSON is a line for each.
    pub fn line<T: Show + ?Sized>(self, shown: &T) -> Result<String, serde_json::Error> {
        match self {
            Self::Json => Ok(format!("{}\n", serde_json::to_string(shown)?)),
            _ => self.render(shown, Style::default()),
        }
    }

    /// A run as it goes on, in this format.
    pub fn watch(self, out: impl std::io::Write + Send + 'static, state: &RunState) -> Box<dyn Watch> {
        match self {
            Self::Json => Box::new(Json(out)),
            _ => Box::new(Lines::new(out, state)),
        }
    }
}

/// What text may look like.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// Whether colours may be used.
    pub color: bool,
    /// Whether all is told that is much of a kind.
    pub verbose: bool,
    /// Columns of the terminal; `None` where it is none, and lines may be as long as they are.
    pub width: Option<usize>,
}

/// Something that is shown. As JSON it is what it is; the rest it says itself.
pub trait Show: Serialize {
    /// For people.
    fn text(&self, style: Style) -> String;

    /// As Markdown; text in a block, unless it knows better.
    fn markdown(&self) -> String {
        format!("```text\n{}```\n", self.text(Style::default()))
    }

    /// What there is to say of places in files.
    fn remarks(&self) -> Vec<Remark> {
        Vec::new()
    }

    /// The same as tests that pass or fail, unless it knows more.
    fn suites(&self) -> Vec<Suite> {
        vec![Suite::of("problems", &self.remarks())]
    }

    /// A page of its own; text as it is, unless it knows better.
    fn html(&self) -> String {
        let text = super::plan_markdown::html(&self.text(Style::default()));
        format!("<!doctype html>\n<meta charset=\"utf-8\">\n<pre>{text}</pre>\n")
    }

    /// As inventories are written; text in a comment, unless it knows better.
    fn yaml(&self) -> String {
        self.text(Style::default()).lines().map(|line| format!("# {line}\n")).collect()
    }

    /// Fields between commas, names first; lines of text as one field each, unless it knows better.
    fn csv(&self) -> String {
        super::table::csv(self.text(Style::default()).lines().map(|line| vec![line.to_owned()]))
    }
}
