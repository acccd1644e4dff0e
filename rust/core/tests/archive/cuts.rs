//! Random archives, damaged at random, read in random pieces.
//!
//! Whatever comes out, entries and data or a refusal, must be the same for every way to cut the input, and nothing that
//! is refused one way is accepted another. The seed is printed with a failure; `TAR_FUZZ_SECONDS` makes it run longer.

use std::time::{Duration, Instant};

use steelyard_core::archive::tar::{Indexer, Limits};
use steelyard_core::error::Error;

use crate::support::{Contents, Head, archive, entry, file, long, pax, read_cut};

/// A small generator of pseudo-random numbers (`SplitMix64`), so that a seed is all there is to a failure.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.next() % most as u64).unwrap()
    }

    fn one<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

fn part(dice: &mut Dice) -> Vec<u8> {
    let name = "n".repeat(1 + dice.below(220));
    let short = &name[..name.len().min(100)];
    let data = vec![b'd'; *dice.one(&[0, 1, 511, 512, 513, 1500])];
    match dice.below(8) {
        0 => [long(b'L', &name), file(short, &data)].concat(),
        1 => [pax(&[("path", &name), ("mtime", "1.5")]), file(short, &data)].concat(),
        2 => Head::new(b'2', short, 0).target("x").block(),
        3 => Head::new(b'5', short, 0).block(),
        4 => entry(Head::gnu(b'0', short, data.len() as u64), &data),
        5 => [pax(&[("size", &data.len().to_string())]), file(short, &data)].concat(),
        6 => entry(Head::new(b'g', "g", 0), b""),
        _ => file(short, &data),
    }
}

/// Change an archive in one of the ways in which archives go wrong; the sums of headers are often made right again.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    const TEXTS: [&[u8]; 8] =
        [b"\0", b"\x80\0", b"\xff\xff", b"../", b"00000000777\0", b"9 path=x\n", b"ustar  \0", b"/"];
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len());
    let block = at / 512 * 512;
    match dice.below(6) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => {
            let text = dice.one(&TEXTS);
            let field = block + dice.one(&[0_usize, 100, 124, 136, 156, 157, 257, 345]);
            bytes.splice(field.min(bytes.len())..(field + text.len()).min(bytes.len()), text.iter().copied());
        }
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(block..(block + 512).min(bytes.len()))),
        4 => {
            let copy: Vec<u8> = bytes[block..(block + 512).min(bytes.len())].to_vec();
            bytes.splice(block..block, copy);
        }
        _ => bytes[(block + 156).min(at.max(block))] = *dice.one(b"0123456LKxgS7"),
    }
    if dice.below(4) > 0 && block + 512 <= bytes.len() {
        let mut head = Head([0; 512]);
        head.0.copy_from_slice(&bytes[block..block + 512]);
        bytes[block..block + 512].copy_from_slice(&head.block());
    }
}

fn indexed(bytes: &[u8], limits: Limits) -> Result<usize, Error> {
    let mut indexer = Indexer::new(limits, bytes.len() as u64);
    let mut count = 0;
    loop {
        let step = indexer.step(8, |buffer, offset| {
            let rest = &bytes[usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len())..];
            let size = rest.len().min(buffer.len());
            buffer[..size].copy_from_slice(&rest[..size]);
            Ok(size)
        })?;
        if step.is_empty() {
            return Ok(count);
        }
        count += step.len();
    }
}

fn check(seed: u64) -> Contents {
    let mut dice = Dice(seed);
    let parts: Vec<_> = (0..dice.below(6)).map(|_| part(&mut dice)).collect();
    let mut bytes = archive(&parts);
    for _ in 0..dice.below(4) {
        damage(&mut dice, &mut bytes);
    }
    let limits = Limits { entries: 1 + dice.below(8) as u64, header_bytes: 1 + dice.below(600) as u64 };
    let whole = read_cut(&bytes, limits, &[]);
    let most = *dice.one(&[2, 100, 513, 5000]);
    let cuts: Vec<usize> = (0..40).map(|_| 1 + dice.below(most)).collect();

    assert_eq!(whole, read_cut(&bytes, limits, &[1]), "seed {seed}: byte by byte");
    assert_eq!(whole, read_cut(&bytes, limits, &cuts), "seed {seed}: {cuts:?}");
    let index = indexed(&bytes, limits);
    assert_eq!(whole.error.is_some(), index.is_err(), "seed {seed}: {:?} and {index:?}", whole.error);
    for (entry, data) in &whole.entries {
        assert!(
            data.len() as u64 <= entry.size
                && !entry.name.starts_with('/')
                && !entry.name.split('/').any(|c| c == "..")
        );
    }
    whole
}

#[test]
fn no_way_to_cut_the_input_changes_what_comes_out() {
    let seconds = std::env::var("TAR_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let (begin, mut accepted, mut refused) = (Instant::now(), 0_u64, 0_u64);
    for seed in 0.. {
        let contents = check(seed);
        if contents.error.is_none() {
            accepted += 1;
        } else {
            refused += 1;
        }
        if begin.elapsed() > Duration::from_secs(seconds) {
            break;
        }
    }
    println!("{accepted} archives accepted, {refused} refused");
    assert!(accepted > 20 && refused > 20, "the archives are all alike");
}
