//! Threads that take the next number until there is none left.
//!
//! A refused thread is an error: with fewer threads a yardstick would measure something else than it says.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// Call `work` once for every number below `count`, and return what it gave in the order of the numbers.
pub(crate) fn share<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let take = || {
        let numbers =
            std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|&number| number < count);
        numbers.map(|number| work(number).map(|value| (number, value))).collect::<io::Result<Vec<_>>>()
    };
    let parts = if threads < 2 {
        vec![take()]
    } else {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| start(scope, take)).collect();
            let joined = |worker: io::Result<ScopedJoinHandle<'_, _>>| worker?.join().expect("a worker does not panic");
            workers.into_iter().map(joined).collect()
        })
    };
    let mut all = Vec::with_capacity(count);
    for part in parts {
        all.extend(part?);
    }
    all.sort_unstable_by_key(|&(number, _)| number);
    Ok(all.into_iter().map(|(_, value)| value).collect())
}

/// Start a thread that ends within the scope.
pub(crate) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().name("yardstick".to_owned()).spawn_scoped(scope, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_of_the_items() {
        assert_eq!((0..100).collect::<Vec<_>>(), share(7, 100, Ok).unwrap());
    }

    #[test]
    fn one_failure_is_returned() {
        let fail = |number| if number == 42 { Err(io::Error::other("42")) } else { Ok(number) };

        assert_eq!("42", share(3, 100, fail).unwrap_err().to_string());
    }
}
