#![no_main]
//! Any bytes, cut anywhere: the same lines as at once, and none is lost or counted twice.

use libfuzzer_sys::fuzz_target;
use tripline::source::batch::LineBatch;
use tripline::source::frame::{Framer, Framing};

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (octets, chunk, bytes) = input;
    let framing = if octets { Framing::LinesOrOctets } else { Framing::Lines };
    let read = |chunk: usize| {
        let mut framer = Framer::new(0, 64).with_framing(framing);
        let mut out = LineBatch::default();
        for piece in bytes.chunks(chunk.max(1)) {
            framer.push(piece, &mut out);
        }
        framer.finish(&mut out);
        let lines: Vec<_> = out.lines().map(|it| (it.number, it.text.to_owned(), it.repaired)).collect();
        let rejects: Vec<_> = out.rejects().map(|it| (it.number, it.reason, it.bytes.to_vec())).collect();
        (lines, rejects)
    };
    assert_eq!(read(bytes.len()), read(usize::from(chunk)));
});
