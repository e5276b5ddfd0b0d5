//! Batches of a wave: how many pairs each has.

use crate::config::read::plan::WaveDraft;
use crate::config::read::service::ServiceDraft;
use crate::model::Strategy;
use crate::text;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::At;

use super::services;

/// The batches of a wave with these services and so many pairs; none where it has none, or they are wrong. `known`: whether all of its
/// pairs could be told.
pub fn of_wave(wave: &WaveDraft, own: &[&ServiceDraft], pairs: usize, known: bool, sink: &Sink) -> Vec<usize> {
    let Some(first) = wave.batches.first() else { return Vec::new() };
    let split_up = no_ramps(own, &first.at, "they cannot be split into batches", sink);
    if !split_up || !known || !grows(wave, pairs, sink) {
        return Vec::new();
    }
    let sizes: Vec<usize> = wave.batches.iter().map(|batch| batch.value.of(pairs)).collect();
    split(&sizes, pairs)
}

/// Whether all of these services move pair by pair; says so where one does not, at what asks for it.
pub fn no_ramps(own: &[&ServiceDraft], at: &At, so: &str, sink: &Sink) -> bool {
    let ramp = own.iter().find(|service| services::strategy(service) == Strategy::Ramp);
    if let Some(ramp) = ramp {
        let message = format!("service `{}` ramps: its pairs move together, and {so}", ramp.name.value);
        sink.push(Diagnostic::error(at, message).hint("give it a wave of its own"));
    }
    ramp.is_none()
}

fn grows(wave: &WaveDraft, pairs: usize, sink: &Sink) -> bool {
    let shrinks = wave.batches.windows(2).find_map(|two| match two {
        [before, after] if after.value.of(pairs) < before.value.of(pairs) => Some((before, after)),
        _ => None,
    });
    let Some((before, after)) = shrinks else { return true };
    let size = |n: usize| text::grouped(n as u64);
    let message = format!(
        "a batch is not smaller than the one before: of {} `{}` is {}, and `{}` is {}",
        text::count(pairs as u64, "pair"),
        after.value,
        size(after.value.of(pairs)),
        before.value,
        size(before.value.of(pairs)),
    );
    sink.push(Diagnostic::error(&after.at, message).hint("for example `batches: [1, 5, 25%, 100%]`"));
    false
}

/// Until all pairs are in one: batches of these sizes, then of the last size again and again.
fn split(sizes: &[usize], pairs: usize) -> Vec<usize> {
    let again = sizes.last().copied().into_iter().cycle();
    let mut left = pairs;
    let taken = sizes.iter().copied().chain(again).map_while(|size| {
        let taken = size.min(left);
        left -= taken;
        (taken > 0).then_some(taken)
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn batches_hold_every_pair_once() {
        assert_eq!(split(&[1, 5, 25, 100], 100), [1, 5, 25, 69]);
        assert_eq!(split(&[1, 5], 13), [1, 5, 5, 2]);
        assert_eq!(split(&[10], 5), [5]);
        assert_eq!(split(&[1, 5, 25], 1), [1]);
        assert_eq!(split(&[3], 0), [0_usize; 0]);
    }
}
