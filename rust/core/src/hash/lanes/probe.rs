//! Access to single kernels, for benchmarks and reports.

use super::kernel::{KERNELS, Kernel, MOST_LANES};
use super::plan::Plan;
use super::sha256_all;
use crate::digest::Digest;

/// The names of the kernels that this CPU can run, the narrow ones first.
pub fn kernels() -> Vec<&'static str> {
    available().map(|kernel| kernel.name).collect()
}

/// The kernels that were chosen on this machine for 1, 2 and more streams.
pub fn choices() -> Vec<&'static str> {
    let plan = Plan::of_this_cpu();
    (1..=MOST_LANES).filter_map(|streams| plan.kernel(streams)).map(|kernel| kernel.name).collect()
}

/// The SHA-256 digests of blobs, in their order, computed by this kernel only; `None` if this CPU cannot run it.
pub fn digest_many_by(kernel: &str, blobs: &[&[u8]]) -> Option<Vec<Digest>> {
    let kernel = available().find(|known| known.name == kernel)?;
    Some(sha256_all(&Plan::only(kernel), blobs))
}

fn available() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.available)())
}
