//! Whatever Moonraker says: the core neither breaks nor grows, answers every command once, and starts nothing
//! that nobody asked for.
#![no_main]

use std::time::{Duration, Instant};

use layerd_fuzz::drivers::moonraker::proto::{Core, Output};
use layerd_fuzz::drivers::moonraker::watch::Watch;
use layerd_fuzz::printer::command::{CancelReason, Command, RequestId};
use layerd_fuzz::printer::model::Now;

/// What a connection begins with, so that the rest is not wasted on a printer that is not there.
const GREETING: &[&str] = &[
    r#"{"id":2,"result":{"klippy_connected":true,"klippy_state":"ready","components":["power","webcam"]}}"#,
    r#"{"id":6,"result":{"objects":["webhooks","print_stats","extruder","fan","mcu","exclude_object"]}}"#,
    r#"{"id":8,"result":{"status":{"webhooks":{"state":"ready"},"print_stats":{"state":"standby"}}}}"#,
];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut now = Now { mono: Instant::now(), wall: jiff::Timestamp::UNIX_EPOCH };
    let mut core = Core::new(Watch::new(None, None));
    core.opened(now);
    for frame in GREETING {
        core.frame(now, frame);
    }
    let (mut asked, mut answered) = (0_u64, Vec::new());
    // A line that begins with "!" is a person, everything else comes from Moonraker.
    for line in text.lines().take(200) {
        match line.strip_prefix('!') {
            Some(word) => {
                let command = match word.bytes().next() {
                    Some(b'p') => Command::Pause,
                    Some(b'r') => Command::Resume,
                    Some(b'c') => Command::Cancel(CancelReason::default()),
                    Some(b's') => Command::SkipObjects { ids: vec![0] },
                    Some(b'a') => Command::Answer { button: 0 },
                    Some(b'h') => Command::HeatersOff,
                    Some(b'e') => Command::EmergencyStop,
                    _ => Command::SendGcode { lines: vec![word.to_owned()], tune: false },
                };
                asked += 1;
                core.request(now, RequestId(asked), command);
            }
            None => core.frame(now, line),
        }
        now.mono += Duration::from_millis(700);
        core.tick(now);
        drain(&mut core, &mut answered);
    }
    core.closed(now);
    drain(&mut core, &mut answered);
    let count = answered.len();
    answered.sort_unstable();
    answered.dedup();
    assert_eq!(count, answered.len(), "a command is answered once");
});

fn drain(core: &mut Core, answered: &mut Vec<u64>) {
    let mut count = 0;
    while let Some(output) = core.poll() {
        count += 1;
        assert!(count < 10_000, "it comes to an end");
        match output {
            Output::Send(text) => assert!(!text.contains("printer.print.start"), "nobody asked for a start"),
            Output::Reply(id, _) => answered.push(id.0),
            Output::Upload(..) => panic!("nobody asked for a start"),
            _ => {}
        }
    }
}
