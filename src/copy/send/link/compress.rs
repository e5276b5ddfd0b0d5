//! Compresses frames where the link is slower than the processor, and only content that shrinks.
//!
//! Owns the choice, anew for each frame of content: by the rate at which content leaves, the rate at which it was compressed so far,
//! and a look at a sample of it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::copy::wire::frame::{Coding, OutFrame};

/// The fastest level: the link is to be the bottleneck, not this.
const LEVEL: i32 = 1;
/// Content shorter than this is left alone.
const WORTH_IT: usize = 1024;
/// Bytes that are tried first.
const SAMPLE: usize = 16 << 10;
/// What is left of content that shrinks, in percent of it, at most.
const SHRINKS: usize = 90;
/// Bytes per second that one thread compresses, until that was measured.
const GUESS: f64 = 200e6;
/// How much faster than the link compressing has to be: it takes the processor from cipher and disk.
const MARGIN: f64 = 1.5;

/// Shared by all who read.
pub struct FrameCompressor {
    /// Bytes per second of one thread.
    rate: Mutex<f64>,
    idle: Mutex<Vec<zstd::bulk::Compressor<'static>>>,
}

impl Default for FrameCompressor {
    fn default() -> Self {
        Self { rate: Mutex::new(GUESS), idle: Mutex::default() }
    }
}

impl FrameCompressor {
    /// The frame, smaller if that helps a link that carries `link` bytes per second; `None` while that is not known.
    pub fn compress(&self, frame: OutFrame, link: Option<f64>) -> OutFrame {
        let rate = *self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = link.is_some_and(|link| link * MARGIN < rate);
        if !slow || frame.data.len() < WORTH_IT || frame.coding != Coding::Plain {
            return frame;
        }
        let packed = self.with_compressor(|compressor| {
            let from = (frame.data.len() / 2).saturating_sub(SAMPLE / 2);
            let sample = frame.data.get(from..).map_or(&[][..], |rest| rest.get(..SAMPLE).unwrap_or(rest));
            if !shrinks(compressor.compress(sample).ok()?.len(), sample.len()) {
                return None;
            }
            let began = Instant::now();
            let packed = compressor.compress(&frame.data).ok()?;
            self.took(frame.data.len(), began.elapsed().as_secs_f64());
            shrinks(packed.len(), frame.data.len()).then_some(packed)
        });
        match packed {
            Some(data) => OutFrame { data, coding: Coding::Zstd, ..frame },
            None => frame,
        }
    }

    fn with_compressor<T>(&self, work: impl FnOnce(&mut zstd::bulk::Compressor<'static>) -> Option<T>) -> Option<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle().pop();
        let mut compressor = match found {
            Some(compressor) => compressor,
            None => zstd::bulk::Compressor::new(LEVEL).ok()?,
        };
        let done = work(&mut compressor);
        idle().push(compressor);
        done
    }

    fn took(&self, bytes: usize, seconds: f64) {
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        *rate = 0.8 * *rate + 0.2 * (bytes as f64 / seconds.max(1e-6));
    }
}

fn shrinks(packed: usize, plain: usize) -> bool {
    packed < plain / 100 * SHRINKS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::wire::frame::{Frame, Route};

    fn content(data: Vec<u8>) -> OutFrame {
        OutFrame::new(Route::Peer, &7u32, data).unwrap()
    }

    fn text() -> Vec<u8> {
        (0..40_000).flat_map(|n: u32| format!("line {} of a log\n", n * 7919).into_bytes()).collect()
    }

    fn noise() -> Vec<u8> {
        let mut data = vec![0; 500_000];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        data
    }

    #[test]
    fn text_shrinks_on_a_slow_link_and_comes_back_whole() {
        let frame = FrameCompressor::default().compress(content(text()), Some(10e6));
        assert_eq!(frame.coding, Coding::Zstd);
        assert!(frame.data.len() < text().len() / 3, "{}", frame.data.len());
        let mut out = Vec::new();
        frame.write_to(&mut out).unwrap();
        assert_eq!(Frame::read_from(&mut &out[..]).unwrap().data(), text());
    }

    #[test]
    fn nothing_is_compressed_for_a_fast_or_unknown_link_nor_what_does_not_shrink() {
        for (data, link) in [(text(), Some(2e9)), (text(), None), (noise(), Some(1e6)), (b"aaaa".to_vec(), Some(1e6))] {
            let frame = FrameCompressor::default().compress(content(data.clone()), link);
            assert_eq!((frame.coding, frame.data), (Coding::Plain, data));
        }
    }

    #[test]
    fn a_compressor_that_turns_out_slower_than_the_link_is_not_used() {
        let compressor = FrameCompressor::default();
        for _ in 0..50 {
            compressor.took(1 << 20, 1.0);
        }
        assert_eq!(compressor.compress(content(text()), Some(10e6)).coding, Coding::Plain);
    }
}
