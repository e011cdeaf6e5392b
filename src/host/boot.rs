//! The clock that nobody sets: how long the computer runs, and which start of it that is.

use crate::printer::wall_clock::SinceBoot;

/// Changes with each start.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Seconds since the computer was started, sleep included; 0 where that cannot be known.
pub fn up_s() -> i64 {
    #[cfg(target_os = "linux")]
    {
        rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec
    }
    #[cfg(not(target_os = "linux"))]
    {
        0
    }
}

/// This moment; `None` where the starts of the computer cannot be told apart.
pub fn now() -> Option<SinceBoot> {
    let boot = std::fs::read_to_string(BOOT_ID).ok()?;
    Some(SinceBoot {
        boot: boot.trim().to_owned(),
        at_s: up_s(),
    })
}
