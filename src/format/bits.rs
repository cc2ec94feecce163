//! Where bytes of a kind stand, one bit a byte, sixty-four at a time: what is asked of a block depends on nothing that was found
//! before, and going from one find to the next is a shift.

use wide::u8x16;

pub(super) const BLOCK: usize = 64;

/// The bytes of a block for which `is` gives all ones.
#[inline(always)]
pub(super) fn bits(block: &[u8; BLOCK], is: impl Fn(u8x16) -> u8x16) -> u64 {
    block
        .as_chunks()
        .0
        .iter()
        .enumerate()
        .fold(0, |bits, (index, sixteen)| bits | u64::from(is(u8x16::new(*sixteen)).to_bitmask()) << (16 * index))
}

/// The same for the first [`BLOCK`] bytes, or all that there are. `is` must not hold for a blank.
#[inline(always)]
pub(super) fn bits_of(bytes: &[u8], is: impl Fn(u8x16) -> u8x16) -> u64 {
    match bytes.first_chunk() {
        Some(block) => bits(block, is),
        None => {
            let mut block = [b' '; BLOCK];
            block[..bytes.len()].copy_from_slice(bytes);
            bits(&block, is)
        }
    }
}
