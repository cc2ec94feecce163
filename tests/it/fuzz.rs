//! The laws that fuzzers try to break, held against their seeds and small changes of these.

use std::fs;
use std::path::PathBuf;

use crate::log::Random;

#[path = "../../fuzz/laws.rs"]
mod laws;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The seeds of a law, in the order of their names.
fn seeds(law: &str) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder("corpus").join(law)).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|it| (it.display().to_string(), fs::read(it).unwrap())).collect()
}

#[test]
fn every_law_has_a_target_and_seeds() {
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for (law, _) in laws::LAWS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{law}.rs\"")), "fuzz/Cargo.toml has no {law}");
        let target = fs::read_to_string(folder("fuzz_targets").join(format!("{law}.rs"))).unwrap();
        assert!(target.contains(&format!("laws::{law}(bytes)")), "the target {law} tries something else");
        assert!(seeds(law).len() > 5, "{law} has few seeds");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), laws::LAWS.len(), "a target is in no list");
}

#[test]
fn seeds_keep_their_laws() {
    for (law, holds) in laws::LAWS {
        for (seed, bytes) in seeds(law) {
            // The name is shown when the law panics.
            println!("{law}: {seed}");
            holds(&bytes);
        }
    }
}

#[test]
fn changed_seeds_keep_their_laws() {
    for (law, holds) in laws::LAWS {
        let seeds = seeds(law);
        let mut random = Random::new(law.len() as u64);
        for round in 0..300 {
            let (seed, bytes) = random.pick(&seeds);
            let mut bytes = bytes.clone();
            for _ in 0..=random.below(3) {
                change(&mut bytes, &mut random, &seeds);
            }
            println!("{law}: round {round} of {seed}: {:?}", String::from_utf8_lossy(&bytes));
            holds(&bytes);
        }
    }
}

/// Cuts, flips, doubles, swaps in a piece of another seed, or puts in a character that means something.
fn change(bytes: &mut Vec<u8>, random: &mut Random, seeds: &[(String, Vec<u8>)]) {
    if bytes.is_empty() {
        bytes.push(b'{');
    }
    let at = random.below(bytes.len() as u64) as usize;
    let end = (at + 1 + random.below(12) as usize).min(bytes.len());
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        4 => {
            let other = &random.pick(seeds).1;
            let from = random.below(other.len().max(1) as u64) as usize;
            let piece: Vec<u8> = other.iter().skip(from).take(20).copied().collect();
            bytes.splice(at..at, piece);
        }
        _ => bytes.insert(at, *random.pick(b"\"\\{}[](),:|<>=#!~\n\r\0\x1b\xff0 ")),
    }
}
