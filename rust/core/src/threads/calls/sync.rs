//! The locks of the pool: those of the standard library, or, in this crate's own tests, those of a model checker, which tries
//! every order in which threads can reach them.

#[cfg(not(test))]
pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(test)]
pub(super) use loom::sync::{Mutex, MutexGuard};
#[cfg(test)]
pub(super) use model::Condvar;

#[cfg(test)]
mod model {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use loom::sync::MutexGuard;

    /// The checker's condition variable never times out. With this one, a test decides when the time of all waiting threads ends.
    #[derive(Default)]
    pub(in crate::threads::calls) struct Condvar {
        inner: loom::sync::Condvar,
        expiries: AtomicUsize,
    }

    pub(in crate::threads::calls) struct Waited(bool);

    type Woken<'a, T> = Result<(MutexGuard<'a, T>, Waited), std::sync::PoisonError<(MutexGuard<'a, T>, Waited)>>;

    impl Condvar {
        pub(in crate::threads::calls) fn new() -> Self {
            Self::default()
        }

        pub(in crate::threads::calls) fn notify_one(&self) {
            self.inner.notify_one();
        }

        pub(in crate::threads::calls) fn notify_all(&self) {
            self.inner.notify_all();
        }

        pub(in crate::threads::calls) fn wait<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
        ) -> std::sync::LockResult<MutexGuard<'a, T>> {
            self.inner.wait(guard)
        }

        #[allow(clippy::unnecessary_wraps, reason = "as the standard library's")]
        pub(in crate::threads::calls) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _: Duration,
        ) -> Woken<'a, T> {
            let before = self.expiries.load(Ordering::Relaxed);
            let guard = self.inner.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
            Ok((guard, Waited(self.expiries.load(Ordering::Relaxed) != before)))
        }

        /// End the time of all waiting threads. The caller holds the mutex, so no thread is about to begin waiting.
        pub(in crate::threads::calls) fn expire(&self) {
            self.expiries.fetch_add(1, Ordering::Relaxed);
            self.inner.notify_all();
        }
    }

    impl Waited {
        pub(in crate::threads::calls) fn timed_out(&self) -> bool {
            self.0
        }
    }
}
