//! How much of what waits a device takes that is not the only one.
//!
//! Devices fill up like vessels: they are to end what waits at one moment, `t`, with `Σ rate·max(0, t − busy) = work`,
//! where a device is busy for the rest of its running batch and its sealed one. So an idle device takes all of it where the
//! others are busy for longer than that, and half of it beside another idle one. What is too little to be worth cutting
//! is for the caller to say.
//!
//! Invariant: pure arithmetic; the shares of all devices that are not busy past `t` add up to what waits.

use super::{device::DeviceState, units::At};

/// Work of `waiting` that `device` is to take, if every device that takes work takes its part.
pub(super) fn share(now: At, device: usize, waiting: u64, devices: &[DeviceState]) -> u64 {
    let Some(own) = devices.get(device) else { return waiting };
    let mut vessels: Vec<(f64, f64)> =
        devices.iter().filter(|dev| dev.alive).map(|dev| (dev.busy_seconds(now), dev.work_per_second())).collect();
    vessels.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rate, mut level, mut left) = (0.0, 0.0, waiting as f64);
    for (busy, rate_of_one) in vessels {
        let done = rate * (busy - level);
        if done >= left && rate > 0.0 {
            break;
        }
        left -= done;
        level = busy;
        rate += rate_of_one;
    }
    let end = if rate > 0.0 { level + left / rate } else { return waiting };
    let work = (end - own.busy_seconds(now)).max(0.0) * own.work_per_second();
    // As a float it may be a hair more than there is.
    (work.ceil() as u64).min(waiting)
}
