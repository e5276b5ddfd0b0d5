//! Frames between two agents: a fixed header, a small structured part, then raw bytes that nobody copies more than needed.
//!
//! Owns the layout, its bounds and the hash of every frame. Must never allocate by what a header claims: memory grows only
//! with bytes that have arrived.
//!
//! ```text
//! offset 0    4    8     16    17     18   20               20 + meta
//!        body meta hash  route coding zero meta (postcard)  data (raw, or one zstd frame)
//! ```
//!
//! The hash is XXH3 (64 bits) of meta and data: SSH keeps attackers out, this finds what memory, pipes and relays do to bytes.
//! Whether both disks hold the same is for BLAKE3 to say ([`crate::copy::digest`]).

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Changes with every change of what frames mean. Both ends run the same binary, so they match or something is wrong.
pub const VERSION: u16 = 10;
/// Longest body of a frame.
pub const MAX_BODY: usize = 16 << 20;
/// How much content goes into one frame: what waits on both ends fits into the processors' caches, which doubled the speed.
pub const CHUNK: usize = 256 << 10;
/// Bytes before the body.
pub const HEADER: usize = 20;

/// The first bytes that an agent writes. A login shell may have printed something before them.
pub const PREAMBLE: &[u8] = b"\nmigrate agent 1\n";

/// For whom a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The agent at the other end.
    Peer,
    /// The same, over whichever stream leads there: content, which needs no order.
    Content,
    /// The controller between them.
    Controller,
}

/// How the raw part of a frame travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Plain,
    /// As one zstd frame.
    Zstd,
}

/// A frame to be written.
#[derive(Debug)]
pub struct OutFrame {
    /// For whom.
    pub route: Route,
    /// How the raw part travels.
    pub coding: Coding,
    /// The structured part, encoded.
    pub meta: Vec<u8>,
    /// The raw part, coded.
    pub data: Vec<u8>,
}

/// A frame that was read.
#[derive(Debug)]
pub struct Frame {
    /// For whom.
    pub route: Route,
    body: Vec<u8>,
    meta: usize,
}

/// Why reading a frame failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The stream ended between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The stream ended or failed within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not a frame.
    #[error("{0}")]
    Malformed(&'static str),
}

/// What a frame header says, checked against its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow.
    pub body: usize,
    /// How many of them are the structured part.
    pub meta: usize,
    /// [`hash`] of the body.
    pub hash: u64,
    /// For whom.
    pub route: Route,
    /// How the raw part travels.
    pub coding: Coding,
}

impl Header {
    /// Reads a header and refuses what no sender writes.
    pub fn parse(raw: &[u8; HEADER]) -> Result<Self, WireError> {
        let [b0, b1, b2, b3, m0, m1, m2, m3, h @ .., route, coding, z0, z1] = *raw;
        let body = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
        let meta = u32::from_le_bytes([m0, m1, m2, m3]) as usize;
        let route = match route {
            0 => Route::Peer,
            1 => Route::Controller,
            2 => Route::Content,
            _ => return Err(WireError::Malformed("a frame with an unknown route")),
        };
        let coding = match coding {
            0 => Coding::Plain,
            1 => Coding::Zstd,
            _ => return Err(WireError::Malformed("a frame with an unknown encoding")),
        };
        if [z0, z1] != [0; 2] {
            return Err(WireError::Malformed("a frame header with unknown flags"));
        }
        if body > MAX_BODY || meta > body {
            return Err(WireError::Malformed("a frame longer than allowed"));
        }
        Ok(Self { body, meta, hash: u64::from_le_bytes(h), route, coding })
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut raw = [0; HEADER];
        let route = match self.route {
            Route::Peer => 0,
            Route::Controller => 1,
            Route::Content => 2,
        };
        let coding = match self.coding {
            Coding::Plain => 0,
            Coding::Zstd => 1,
        };
        let [body, meta] = [self.body, self.meta].map(|len| (len as u32).to_le_bytes());
        let parts = [&body[..], &meta, &self.hash.to_le_bytes(), &[route, coding, 0, 0]];
        for (to, from) in raw.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        raw
    }
}

impl OutFrame {
    /// A frame of `message` with `data` behind it.
    pub fn new<M: Serialize>(route: Route, message: &M, data: Vec<u8>) -> Result<Self, WireError> {
        let meta =
            postcard::to_stdvec(message).map_err(|_| WireError::Malformed("a message that cannot be encoded"))?;
        if meta.len() + data.len() > MAX_BODY {
            return Err(WireError::Malformed("a frame longer than allowed"));
        }
        Ok(Self { route, coding: Coding::Plain, meta, data })
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        HEADER + self.meta.len() + self.data.len()
    }

    /// Whether it carries neither message nor data.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty() && self.data.is_empty()
    }

    /// Header and structured part in one piece; the data follows it.
    pub fn head(&self) -> Vec<u8> {
        let mut hash = Xxh3::new();
        hash.update(&self.meta);
        hash.update(&self.data);
        let header = Header {
            body: self.meta.len() + self.data.len(),
            meta: self.meta.len(),
            hash: hash.digest(),
            route: self.route,
            coding: self.coding,
        };
        let mut head = Vec::with_capacity(HEADER + self.meta.len());
        head.extend_from_slice(&header.encode());
        head.extend_from_slice(&self.meta);
        head
    }

    /// Writes it whole.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.head())?;
        out.write_all(&self.data)?;
        out.flush()
    }
}

impl Frame {
    /// Reads the next frame.
    pub fn read_from(input: &mut dyn Read) -> Result<Self, WireError> {
        let mut raw = [0; HEADER];
        if !read_header(input, &mut raw)? {
            return Err(WireError::Closed);
        }
        let header = Header::parse(&raw)?;
        let mut body = Vec::with_capacity(header.body.min(CHUNK + (64 << 10)));
        input.take(header.body as u64).read_to_end(&mut body)?;
        if body.len() < header.body {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Self::check(header, body)
    }

    /// A frame from its header and body.
    pub fn check(header: Header, body: Vec<u8>) -> Result<Self, WireError> {
        if hash(&body) != header.hash {
            return Err(WireError::Malformed("a frame whose hash does not match"));
        }
        let body = match header.coding {
            Coding::Plain => body,
            Coding::Zstd => expand(body, header.meta)?,
        };
        Ok(Self { route: header.route, body, meta: header.meta })
    }

    /// The structured part.
    pub fn message<M: DeserializeOwned>(&self) -> Result<M, WireError> {
        let meta = self.body.get(..self.meta).unwrap_or_default();
        match postcard::take_from_bytes(meta) {
            Ok((message, [])) => Ok(message),
            _ => Err(WireError::Malformed("a message that cannot be decoded")),
        }
    }

    /// The raw part.
    pub fn data(&self) -> &[u8] {
        self.body.get(self.meta..).unwrap_or_default()
    }
}

/// What a frame's header says of its body.
pub fn hash(body: &[u8]) -> u64 {
    xxh3_64(body)
}

/// A body whose raw part is a zstd frame, with what that holds. It never grows beyond the bound of a frame.
fn expand(body: Vec<u8>, meta: usize) -> Result<Vec<u8>, WireError> {
    let damaged = |_| WireError::Malformed("a frame that cannot be decompressed");
    let (head, mut packed) = body.split_at_checked(meta).unwrap_or_default();
    let mut whole = head.to_vec();
    let mut decoder = zstd::Decoder::with_buffer(&mut packed).map_err(damaged)?.single_frame();
    decoder.window_log_max(MAX_BODY.ilog2()).map_err(damaged)?;
    let room = (MAX_BODY - head.len()) as u64;
    let got = decoder.by_ref().take(room + 1).read_to_end(&mut whole).map_err(damaged)?;
    drop(decoder);
    if got as u64 > room || !packed.is_empty() {
        return Err(WireError::Malformed("a frame that decompresses beyond its bound"));
    }
    Ok(whole)
}

/// Reads all of `raw`; false when the stream ended before its first byte.
fn read_header(input: &mut dyn Read, raw: &mut [u8; HEADER]) -> io::Result<bool> {
    let mut have = 0;
    while let Some(rest) = raw.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) if have == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(route: Route, message: &(u32, Vec<u8>), data: Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        OutFrame::new(route, message, data).unwrap().write_to(&mut out).unwrap();
        out
    }

    #[test]
    fn a_huge_length_costs_nothing_and_is_refused() {
        let mut raw = [0xff; HEADER];
        assert!(matches!(Frame::read_from(&mut &raw[..]), Err(WireError::Malformed(_))));
        let (route, coding) = (Route::Peer, Coding::Plain);
        raw = Header { body: MAX_BODY, meta: 0, hash: 0, route, coding }.encode();
        assert!(matches!(Frame::read_from(&mut &raw[..]), Err(WireError::Io(_))));
    }

    #[test]
    fn an_end_between_frames_is_told_from_an_end_within() {
        assert!(matches!(Frame::read_from(&mut &b""[..]), Err(WireError::Closed)));
        let whole = written(Route::Peer, &(1, vec![]), vec![7; 10]);
        for cut in 1..whole.len() {
            assert!(matches!(Frame::read_from(&mut &whole[..cut]), Err(WireError::Io(_))), "cut at {cut}");
        }
    }

    fn packed(message: &(u32, Vec<u8>), data: &[u8]) -> OutFrame {
        let frame = OutFrame::new(Route::Peer, message, zstd::bulk::compress(data, 1).unwrap()).unwrap();
        OutFrame { coding: Coding::Zstd, ..frame }
    }

    fn read(frame: &OutFrame) -> Result<Frame, WireError> {
        let mut out = Vec::new();
        frame.write_to(&mut out).unwrap();
        Frame::read_from(&mut &out[..])
    }

    #[test]
    fn a_frame_never_expands_beyond_its_bound() {
        let most = vec![0; MAX_BODY - 2];
        assert_eq!(read(&packed(&(1, vec![]), &most)).unwrap().data().len(), most.len());
        let bomb = packed(&(1, vec![]), &vec![0; MAX_BODY]);
        assert!(bomb.len() < 4096);
        assert!(matches!(read(&bomb), Err(WireError::Malformed(_))));
        let mut huge_window = zstd::Encoder::new(Vec::new(), 1).unwrap();
        huge_window.window_log(27).unwrap();
        huge_window.write_all(&[7; 100]).unwrap();
        let bomb = OutFrame { data: huge_window.finish().unwrap(), ..bomb };
        assert!(matches!(read(&bomb), Err(WireError::Malformed(_))));
    }

    #[test]
    fn nothing_may_stand_behind_what_expands() {
        let mut frame = packed(&(1, vec![]), b"content");
        frame.data.extend_from_slice(&zstd::bulk::compress(b"more", 1).unwrap());
        assert!(matches!(read(&frame), Err(WireError::Malformed(_))));
        frame.data = b"no zstd frame".to_vec();
        assert!(matches!(read(&frame), Err(WireError::Malformed(_))));
        frame.data.clear();
        assert!(matches!(read(&frame), Err(WireError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn packed_frames_come_back_as_they_were(n: u32, name: Vec<u8>, data: Vec<u8>) {
            let frame = read(&packed(&(n, name.clone()), &data)).unwrap();
            prop_assert_eq!(frame.message::<(u32, Vec<u8>)>().unwrap(), (n, name));
            prop_assert_eq!(frame.data(), data);
        }

        #[test]
        fn no_packed_bytes_make_the_reader_panic(data: Vec<u8>, at: prop::sample::Index, flip: u8) {
            let mut frame = packed(&(1, vec![]), &data);
            let at = at.index(frame.data.len());
            frame.data[at] ^= flip;
            // The hash is right: only the coding is not.
            if let Ok(frame) = read(&frame) {
                prop_assert!(frame.data().len() <= MAX_BODY);
            }
        }

        #[test]
        fn frames_come_back_as_they_were(n: u32, name: Vec<u8>, data: Vec<u8>, controller: bool) {
            let route = if controller { Route::Controller } else { Route::Peer };
            let frame = Frame::read_from(&mut &written(route, &(n, name.clone()), data.clone())[..]).unwrap();
            prop_assert_eq!(frame.message::<(u32, Vec<u8>)>().unwrap(), (n, name));
            prop_assert_eq!(frame.data(), data);
            prop_assert_eq!(frame.route, route);
        }

        #[test]
        fn a_flipped_bit_is_noticed(n: u32, data: Vec<u8>, at: prop::sample::Index, bit in 0..8u32) {
            let mut raw = written(Route::Peer, &(n, vec![]), data);
            let at = at.index(raw.len());
            raw[at] ^= 1 << bit;
            if let Ok(frame) = Frame::read_from(&mut &raw[..]) {
                // Only the bounds between meta and data and the route are outside the sum; they cannot make a valid message.
                prop_assert!(at < HEADER);
                let _ = frame.message::<(u32, Vec<u8>)>();
            }
        }

        #[test]
        fn no_input_makes_the_reader_panic(raw: Vec<u8>) {
            let mut input = &raw[..];
            while let Ok(frame) = Frame::read_from(&mut input) {
                let _ = frame.message::<(u32, Vec<u8>, String)>();
            }
        }
    }
}
