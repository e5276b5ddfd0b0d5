//! What a hostile peer could send. `fuzz/` does the same for longer.

use proptest::prelude::*;

#[path = "../../fuzz/any_bytes.rs"]
mod body;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// The first byte of a message chooses its kind: let each have its share.
    #[test]
    fn no_bytes_of_a_peer_make_a_decoder_panic(kind in 0..32u8, plain: bool, body in prop::collection::vec(any::<u8>(), 0..2000)) {
        let coding = u8::from(!plain);
        body::read(&[&[255, coding, kind], &body[..]].concat());
        body::read(&[&[128, coding, kind], &body[..]].concat());
        body::read(&body);
    }
}
