//! Infos of many blobs as `MessagePack`. A page is made without the GIL, and decoding it in Python is faster than creating as many
//! objects through `PyO3`.
//!
//! A page is `[algorithms, labels, blobs]`: the names of all algorithms, the different sets of labels, and for each blob
//! `[algorithm, encoded, size, created, updated, labels]`. `algorithm` and `labels` of a blob are indexes into the first two lists. Times
//! are timestamps in whole microseconds; `updated` is nil if it equals `created`.

use std::collections::HashMap;
use std::sync::Arc;

use rmp::encode::{ByteBuf, write_array_len, write_ext_meta, write_map_len, write_nil, write_str, write_uint};
use steelyard_core::digest::{Algorithm, MOST_DIGITS};
use steelyard_core::model::{Info, Labels};

const SECOND_NS: i64 = 1_000_000_000;

/// The extension type of a timestamp.
const TIMESTAMP: i8 = -1;

/// Return the page of these blobs. It is never empty, even without blobs.
pub(crate) fn page(infos: &[Info]) -> Vec<u8> {
    let mut sets: Vec<&Labels> = Vec::new();
    let mut places: HashMap<*const Labels, u64> = HashMap::new();
    let mut rows = ByteBuf::with_capacity(infos.len() * 112);
    array(&mut rows, infos.len());
    for info in infos {
        let place = *places.entry(Arc::as_ptr(&info.labels)).or_insert_with(|| {
            sets.push(&info.labels);
            sets.len() as u64 - 1
        });
        write(&mut rows, info, place);
    }
    let mut page = ByteBuf::with_capacity(rows.as_slice().len() + sets.len() * 64);
    array(&mut page, 3);
    array(&mut page, Algorithm::ALL.len());
    for algorithm in Algorithm::ALL {
        done(write_str(&mut page, algorithm.name()));
    }
    array(&mut page, sets.len());
    for labels in sets {
        done(write_map_len(&mut page, length(labels.len())));
        for (key, value) in labels {
            done(write_str(&mut page, key));
            done(write_str(&mut page, value));
        }
    }
    let mut page = page.into_vec();
    page.extend_from_slice(rows.as_slice());
    page
}

fn write(rows: &mut ByteBuf, info: &Info, labels: u64) {
    let algorithm = Algorithm::ALL.iter().position(|known| *known == info.digest.algorithm());
    array(rows, 6);
    done(write_uint(rows, algorithm.expect("all are listed") as u64));
    done(write_str(rows, info.digest.encode(&mut [0; MOST_DIGITS])));
    done(write_uint(rows, info.size));
    time(rows, info.created_ns);
    if info.updated_ns == info.created_ns {
        done(write_nil(rows));
    } else {
        time(rows, info.updated_ns);
    }
    done(write_uint(rows, labels));
}

fn time(rows: &mut ByteBuf, ns: i64) {
    let seconds = ns.div_euclid(SECOND_NS);
    let nanoseconds = u32::try_from(ns.rem_euclid(SECOND_NS) / 1000 * 1000).expect("less than a second");
    done(write_ext_meta(rows, 12, TIMESTAMP));
    rows.as_mut_vec().extend_from_slice(&nanoseconds.to_be_bytes());
    rows.as_mut_vec().extend_from_slice(&seconds.to_be_bytes());
}

fn array(buffer: &mut ByteBuf, count: usize) {
    done(write_array_len(buffer, length(count)));
}

fn length(count: usize) -> u32 {
    u32::try_from(count).expect("pages and labels are small")
}

/// Unwrap the result of a write to memory, which cannot fail.
fn done<T, E: std::fmt::Debug>(written: Result<T, E>) {
    written.expect("memory takes all");
}
