//! A time that cannot be set ahead: the wall clock, limited by the clock since the boot.

use std::fmt;

use crate::sys::Sys;

/// Both clocks at one moment of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootClock {
    /// The boot of the machine.
    pub boot: String,
    /// The wall clock.
    pub wall_ns: i64,
    /// The time since that boot.
    pub boot_ns: i64,
}

impl BootClock {
    /// Read the clocks; `None` if the system does not identify the boot.
    pub fn now(sys: &dyn Sys) -> Option<Self> {
        Some(Self { boot: sys.boot_id()?, wall_ns: sys.now_ns(), boot_ns: sys.boot_ns() })
    }

    /// Parse the text of `Display`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let boot = words.next()?.to_owned();
        let mut number = || words.next()?.parse().ok();
        Some(Self { boot, wall_ns: number()?, boot_ns: number()? })
    }

    /// The wall time that has certainly been reached, even if the clock was set ahead since these clocks were read. After a reboot this is
    /// just the wall clock.
    pub fn time_at_least(&self, sys: &dyn Sys) -> i64 {
        let wall_ns = sys.now_ns();
        if sys.boot_id().as_ref() != Some(&self.boot) {
            return wall_ns;
        }
        wall_ns.min(self.wall_ns.saturating_add(sys.boot_ns().saturating_sub(self.boot_ns)))
    }
}

impl fmt::Display for BootClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, wall_ns, boot_ns } = self;
        write!(formatter, "{boot} {wall_ns} {boot_ns}")
    }
}
