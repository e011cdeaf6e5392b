//! What anybody on the network may send: answers of a file server, however they are cut, listings, and what
//! printers announce. Nothing of it panics, is kept without bound, or reads differently in other pieces.
#![no_main]

use layerd_fuzz::drivers::bambu::ftp_replies::{Nonsense, Replies, Reply, listed_size, passive_port};
use layerd_fuzz::drivers::bambu::heard::{announcement, detect_answer, frame};

fn replies(data: &[u8], piece: usize) -> (Vec<Reply>, Option<Nonsense>) {
    let mut replies = Replies::default();
    let mut all = Vec::new();
    for part in data.chunks(piece) {
        replies.push(part);
        loop {
            match replies.take() {
                Ok(Some(reply)) => all.push(reply),
                Ok(None) => break,
                Err(nonsense) => return (all, Some(nonsense)),
            }
        }
    }
    (all, None)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, data)) = data.split_first() else { return };
    let whole = replies(data, 512);
    assert_eq!(whole, replies(data, usize::from(*first) + 1));
    for reply in &whole.0 {
        assert!(reply.code >= 100 && reply.text.len() <= 3 * 1024);
        let _ = passive_port(&reply.text);
    }
    let text = String::from_utf8_lossy(data);
    let _ = listed_size(&text, "a-01234567.gcode.3mf");
    if let Some(told) = announcement(&text) {
        assert!((8..=32).contains(&told.serial.len()));
        assert!(told.name.chars().count() <= 48 && !told.name.contains(['"', '\\', '\n']));
    }
    for answer in [detect_answer(data), detect_answer(&frame(data))].into_iter().flatten() {
        assert!((8..=32).contains(&answer.serial.len()) && answer.version.chars().count() <= 48);
    }
});
