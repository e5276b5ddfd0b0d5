//! What an answer of Prometheus' API is worth. Pure.
//!
//! Must never give a number out of an answer that is not whole, and never one that stands for several series.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Silence, quote};
use crate::text;

/// A value at a time of the server's clock, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub at: f64,
    pub value: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

/// A result, by its type.
#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
pub enum Data {
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
    Scalar(Point),
    String(serde::de::IgnoredAny),
}

type Point = (f64, String);
type Labels = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
pub struct Instant {
    metric: Labels,
    /// `None`: it holds a histogram.
    value: Option<Point>,
}

#[derive(Debug, Deserialize)]
pub struct Range {
    metric: Labels,
    #[serde(default)]
    values: Vec<Point>,
}

/// The result in an answer with this HTTP status.
pub fn open(status: u16, body: &[u8]) -> Result<Data, Silence> {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else { return Err(foreign(status, body)) };
    if envelope.status != "success" || !(200..300).contains(&status) {
        return Err(refusal(status, &envelope));
    }
    if let Some(warning) = envelope.warnings.first() {
        let why = format!("its answer may not be whole: {}", quote(warning));
        return Err(Silence::new(why, "mend what it warns of; a number out of half of the data counts as none"));
    }
    envelope.data.ok_or_else(|| foreign(status, body))
}

/// An answer that is not of the API at all.
fn foreign(status: u16, body: &[u8]) -> Silence {
    let said = text::escape(body, 80);
    match status {
        401 | 403 => Silence::new(format!("it does not let us in ({status}): `{said}`"), CREDENTIALS),
        404 => Silence::new(format!("there is nothing of this name (404): `{said}`"), API),
        200..300 => Silence::new(format!("its answer is not that of Prometheus' API: `{said}`"), API),
        _ => Silence::new(format!("it answers {status}: `{said}`"), "look at its log, and at what stands before it"),
    }
}

const CREDENTIALS: &str = "give `token`, or `user` and `password`, of the server, or mend what they refer to";
const API: &str = "`url` must be that under which `/api/v1/query` is found";

fn refusal(status: u16, envelope: &Envelope) -> Silence {
    let said = quote(envelope.error.as_deref().unwrap_or("it does not say why"));
    match (envelope.error_type.as_deref(), status) {
        (_, 401 | 403) => Silence::new(format!("it does not let us in ({status}): {said}"), CREDENTIALS),
        (Some("bad_data"), _) => Silence::new(
            format!("it cannot read the query: {said}"),
            "try the query in Prometheus' own page, and mend it",
        ),
        (Some(kind @ ("execution" | "timeout" | "canceled" | "unavailable" | "internal")), _) => {
            Silence::new(format!("it cannot answer the query ({kind}): {said}"), "look at Prometheus, or ask for less")
        }
        _ => Silence::new(format!("it refuses ({status}): {said}"), "look at its log"),
    }
}

/// The one number of a result, with its time.
pub fn number(data: Data) -> Result<Sample, Silence> {
    match data {
        Data::Scalar(point) => sample(&point),
        Data::Vector(series) => {
            let one = only(series, |s| &s.metric)?;
            sample(&one.value.ok_or_else(histogram)?)
        }
        Data::Matrix(_) => Err(Silence::new(
            "the query gives all samples of a range",
            "make one number of them, as in `avg_over_time(…[5m])`",
        )),
        Data::String(_) => Err(Silence::new("the query gives text", "ask for a number")),
    }
}

/// The one series of a result; empty when there is none.
pub fn series(data: Data) -> Result<Vec<Sample>, Silence> {
    match data {
        Data::Matrix(series) if series.is_empty() => Ok(Vec::new()),
        Data::Matrix(series) => {
            let one = only(series, |s| &s.metric)?;
            if one.values.is_empty() {
                return Err(histogram());
            }
            one.values.iter().map(sample).collect()
        }
        _ => Err(Silence::new("its answer is no series", API)),
    }
}

/// The numbers of a result, whosoever they are; times are those of the evaluation.
pub fn ages(data: Data) -> Result<Option<f64>, Silence> {
    match data {
        Data::Vector(series) if series.is_empty() => Ok(None),
        other => number(other).map(|age| Some(age.value)),
    }
}

fn histogram() -> Silence {
    Silence::new("the query gives a histogram", "make a number of it, as in `histogram_quantile(0.99, …)`")
}

fn only<S>(series: Vec<S>, labels: impl Fn(&S) -> &Labels) -> Result<S, Silence> {
    let shown: Vec<String> = series.iter().take(3).map(|s| told(labels(s))).collect();
    let count = series.len();
    let mut all = series.into_iter();
    match (all.next(), count) {
        (Some(one), 1) => Ok(one),
        (None, _) => Err(Silence::new(
            "there is no data: no series fits the query",
            "look whether it is scraped, and at the labels in the query; a number that may be missing is `… or vector(0)`",
        )),
        _ => Err(Silence::new(
            format!("the query gives {count} series, and one is wanted: {}", shown.join(", ")),
            "make one of them, as in `sum(…)` or `max(…)`",
        )),
    }
}

fn told(labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    quote(&format!("{{{}}}", labels.join(",")))
}

fn sample((at, text): &Point) -> Result<Sample, Silence> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && at.is_finite() => Ok(Sample { at: *at, value }),
        Ok(value) if value.is_nan() => Err(Silence::new(
            "the number is NaN",
            "a division by a rate of 0 gives it: nothing was counted; wait for traffic, or mend the query",
        )),
        Ok(_) => Err(Silence::new(
            format!("the number is {}", quote(text)),
            "a division by 0 gives it: nothing was counted; wait for traffic, or mend the query",
        )),
        Err(_) => Err(Silence::new(format!("`{}` is not a number", quote(text)), API)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(status: u16, body: &str) -> Result<f64, String> {
        open(status, body.as_bytes()).and_then(number).map(|s| s.value).map_err(|s| format!("{}; {}", s.why, s.help))
    }

    fn vector(result: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{result}]}}}}"#)
    }

    #[test]
    fn one_number_is_one_number() {
        assert_eq!(asked(200, &vector(r#"{"metric":{"a":"b"},"value":[1.5,"-2.5e3"]}"#)), Ok(-2500.0));
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]},"infos":["PromQL info"]}"#;
        assert_eq!(asked(200, scalar), Ok(7.0));
    }

    #[test]
    fn everything_else_is_told_by_what_it_is() {
        let two = r#"{"metric":{"i":"a"},"value":[1,"1"]},{"metric":{"i":"b"},"value":[1,"2"]}"#;
        let warned =
            r#"{"status":"success","warnings":["one store is down"],"data":{"resultType":"scalar","result":[1,"7"]}}"#;
        let matrix =
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}]}}"#;
        for (status, body, why) in [
            (200, vector(""), "there is no data"),
            (200, vector(two), r#"the query gives 2 series, and one is wanted: {i="a"}, {i="b"}"#),
            (200, vector(r#"{"metric":{},"value":[1,"NaN"]}"#), "the number is NaN"),
            (200, vector(r#"{"metric":{},"value":[1,"+Inf"]}"#), "the number is +Inf"),
            (200, vector(r#"{"metric":{},"value":[1,"seven"]}"#), "`seven` is not a number"),
            (200, vector(r#"{"metric":{},"histogram":[1,{}]}"#), "the query gives a histogram"),
            (200, matrix.to_owned(), "the query gives all samples of a range"),
            (200, warned.to_owned(), "its answer may not be whole: one store is down"),
            (200, r#"{"status":"success"}"#.to_owned(), "its answer is not that of Prometheus' API"),
            (200, "<html>log in</html>".to_owned(), "its answer is not that of Prometheus' API: `<html>log in</html>`"),
            (
                200,
                r#"{"status":"error","errorType":"timeout","error":"too slow"}"#.to_owned(),
                "it cannot answer the query (timeout): too slow",
            ),
            (
                400,
                r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(),
                "it cannot read the query: parse error",
            ),
            (
                503,
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#.to_owned(),
                "it refuses (503)",
            ),
            (401, "Unauthorized".to_owned(), "it does not let us in (401)"),
            (404, "not here".to_owned(), "there is nothing of this name (404)"),
            (502, "Bad\u{1b}[31m Gateway".to_owned(), r"it answers 502: `Bad\u{1b}[31m Gateway`"),
        ] {
            let said = asked(status, &body).unwrap_err();
            assert!(said.starts_with(why), "{said}\n{why}");
        }
    }

    #[test]
    fn a_series_is_whole_or_none() {
        let matrix = |result: &str| {
            let body = format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#);
            open(200, body.as_bytes()).and_then(series).map(|s| s.len()).map_err(|s| s.why)
        };
        assert_eq!(matrix(r#"{"metric":{},"values":[[1,"1"],[2,"3"]]}"#), Ok(2));
        assert_eq!(matrix(""), Ok(0));
        assert_eq!(matrix(r#"{"metric":{},"values":[[1,"1"],[2,"NaN"]]}"#).unwrap_err(), "the number is NaN");
        assert!(matrix(r#"{"metric":{"a":"1"},"values":[[1,"1"]]},{"metric":{},"values":[[1,"1"]]}"#).is_err());
    }
}
