//! Objects left out of any program, and any program taken up from any place: clean lines, and no heat or move from
//! nothing.
#![no_main]

use std::sync::Arc;

use layerd_fuzz::gcode::analyze::{Analyzer, Options};
use layerd_fuzz::gcode::recover::{Height, Scan};
use layerd_fuzz::gcode::skip::{Origin, Skip, SkipPlan};
use layerd_fuzz::gcode::source::{Batch, Prepare, PrepareOptions};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let [object, from, text @ ..] = data else { return };
    let mut analyzer = Analyzer::new(Options { hash: false, ..Options::default() });
    analyzer.push(text);
    let (_, index) = analyzer.finish_with_index();
    let mut prepare = Prepare::new(PrepareOptions { paren_comments: false });
    let mut batch = Batch::default();
    prepare.feed(text, &mut batch);
    prepare.finish(&mut batch);

    let spans = index.object_spans().unwrap_or_default();
    let mut plan = SkipPlan::default();
    let mut untouched = Skip::new(spans.clone(), Arc::new(plan.clone()));
    plan.add(u32::from(*object % 8), u64::from(*from) * 16);
    let mut skip = Skip::new(spans, Arc::new(plan));
    let (mut scan, mut at) = (Scan::default(), 0_u64);
    for line in &batch.lines {
        let sent = batch.text_of(line);
        let mut own = 0;
        skip.line(sent, at, |out, origin| {
            assert!(!out.is_empty() && !out.contains(&b'\n'), "{out:?}");
            own += usize::from(origin == Origin::Program);
        });
        assert!(own <= 1, "a line goes out once");
        // Without an order the program is as it was.
        untouched.line(sent, at, |out, origin| {
            assert_eq!((out, origin), (sent, Origin::Program));
        });
        scan.line(sent);
        at += sent.len() as u64 + 1;
    }
    for height in [Height::Kept, Height::Measured(f64::from(*from))] {
        if let Ok(text) = scan.beginning(height) {
            assert!(text.is_ascii() && text.lines().all(|l| l.len() < 256), "{text}");
        }
    }
});
