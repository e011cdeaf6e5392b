//! Heaters off without a daemon: for the time after layerd has failed for good with a print on the bed.
//!
//! Apart from the sender, its numbers and its memory on purpose: whatever brought the daemon down must
//! not be needed here. The lines go without numbers, which every firmware takes.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::config::Config;
use super::{port, temps};
use crate::host::serial::Roots;
use crate::printer::fault::{Fault, Severity};

/// A board that was reset by opening its port needs so long until it listens; the rest is for saying
/// it again. A firmware that waits for heat in `M109` reads `M108` only every second or so.
const PER_SPEED: Duration = Duration::from_secs(14);
/// The words are said again after so long without the right answer.
const AGAIN: Duration = Duration::from_secs(2);
/// A longer line is noise.
const LINE_MAX: usize = 512;

/// `M108` ends a wait for heat; tools that are not there answer with an error, which does no harm.
const COLD: &[u8] = b"M108\nM104 S0\nM104 T1 S0\nM140 S0\nM141 S0\nM105\n";

/// Turns every heater off and sees that the targets read 0.
///
/// # Errors
/// The port is not there or in use, or the printer never said that its targets are 0.
pub async fn cool(config: &Config, pin: &Path) -> Result<(), Fault> {
    let roots = Roots::default();
    let path = port::resolve(&config.port, &roots, Some(pin))?;
    let native_usb = path
        .canonicalize()
        .is_ok_and(|p| p.to_string_lossy().contains("ttyACM"));
    for baud in config.bauds(None, native_usb) {
        if said_cold(&path, baud, &roots).await? {
            return Ok(());
        }
    }
    Err(Fault::new(
        Severity::NeedsUser,
        "marlin/not-seen-cold",
        "The heaters were told to go off, but the printer did not say that they are.",
        "It was switched off, its cable was pulled, or it speaks at a speed that was not tried.",
        "Look at the printer, and switch it off if it is hot.",
    )
    .with_raw(path.display().to_string()))
}

async fn said_cold(path: &Path, baud: u32, roots: &Roots) -> Result<bool, Fault> {
    let mut stream = port::open(path, baud, roots)?;
    let end = Instant::now() + PER_SPEED;
    let (mut line, mut buffer) = (Vec::new(), [0_u8; 256]);
    while Instant::now() < end {
        let written = timeout(AGAIN, stream.write_all(COLD)).await;
        if let Ok(Err(error)) = written {
            return Err(port::lost(path, &error));
        }
        let turn = Instant::now() + AGAIN;
        while let Ok(read) = tokio::time::timeout_at(turn, stream.read(&mut buffer)).await {
            let read = read.map_err(|error| port::lost(path, &error))?;
            if read == 0 {
                return Err(port::lost(path, &io::ErrorKind::UnexpectedEof.into()));
            }
            for byte in buffer.iter().take(read) {
                if *byte != b'\n' {
                    if line.len() < LINE_MAX {
                        line.push(*byte);
                    }
                } else if is_cold(&std::mem::take(&mut line)) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// A report in which every heater that can be driven has the target 0, and one has.
fn is_cold(line: &[u8]) -> bool {
    let (mut any, mut hot) = (false, false);
    temps::read(line, 0, |reading| {
        if let Some(target_c) = reading.target_c {
            any = true;
            hot |= target_c > 0.0;
        }
    });
    any && !hot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cold_is_what_the_printer_says_not_what_it_was_told() {
        assert!(is_cold(b"ok T:185.0 /0.0 B:58.1 /0.0 @:0 B@:0"));
        assert!(!is_cold(b"ok T:185.0 /200.0 B:58.1 /0.0 @:0 B@:0"));
        assert!(!is_cold(b"ok T:185.0 /0.0 B:58.1 /60.0"));
        assert!(!is_cold(b"ok"));
        // Without a target nothing is known.
        assert!(!is_cold(b"ok T:185.0 B:58.1"));
    }
}
